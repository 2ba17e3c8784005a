"""Channels: who is subscribed now, the most that were, hour by hour."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from proto.events import Closed, EdgeFound, EdgeLost, SessionEvent, Subscribed, Unsubscribed
from services.sessions.models import channels
from services.sessions.peaks import LATE_MS
from services.sessions.rows import HOUR_MS, Channel, ChannelHour
from services.sessions.state import State
from tests.sessions.models.telling import ann, told

Stay = tuple[int, int, int]
"""Of a connection: its begin, its length, and how late its end is told."""

stays = st.tuples(
    st.integers(HOUR_MS - 60_000, HOUR_MS + 60_000),
    st.integers(1_000, 90_000),
    st.sampled_from([0, 0, 5_000, 40_000]),
)


def distinct(at: int, number: int) -> int:
    """No two facts of a story are of the same moment."""
    return at - at % 100 + number


def entered(connection: str, at: int) -> list[SessionEvent]:
    return [ann(connection, at), Subscribed(at=at, connection=connection, channel="news")]


def now(state: State) -> int:
    return state.channels["news"].subscribers


def test_the_peak_has_its_time_and_every_hour_its_own():
    state = told(
        *entered("c1", 10),
        *entered("c2", 20),
        Unsubscribed(at=30, connection="c1", channel="news"),
        Closed(at=HOUR_MS + 5, connection="c2", code=1000),
    )
    steps = ((10, 1), (20, 2), (HOUR_MS, 1))
    assert state.channels == {"news": Channel("news", 0, 2, 20, 2, 10, HOUR_MS + 5, steps)}
    assert state.channel_hours == {
        ("news", 0): ChannelHour("news", 0, 2, 1, 2),
        ("news", HOUR_MS): ChannelHour("news", HOUR_MS, 1, 0, 0),
    }


def test_a_subscription_ends_once_by_itself_or_with_its_connection():
    leaves = Unsubscribed(at=30, connection="c1", channel="news")
    closes = Closed(at=40, connection="c1", code=1000)
    for facts in ([leaves, leaves], [leaves, closes], [closes, closes], [closes, leaves]):
        assert now(told(*entered("c1", 10), *entered("c2", 10), *facts)) == 1


def test_subscribers_of_a_lost_edge_are_gone_and_those_of_a_found_one_are_back():
    lost = EdgeLost(at=50, instance="i1")
    state = told(*entered("c1", 10), *entered("c2", 10), lost)
    assert now(state) == 0
    told(Unsubscribed(at=45, connection="c2", channel="news"), state=state)
    assert now(state) == 0
    told(EdgeFound(at=60, instance="i1"), EdgeFound(at=61, instance="i1"), state=state)
    assert now(state) == 1


@given(
    st.lists(st.integers(HOUR_MS - 60_000, HOUR_MS + 60_000), min_size=1, max_size=8, unique=True).map(sorted),
    st.integers(HOUR_MS - 60_000, HOUR_MS + 60_000),
)
def test_those_who_leave_with_their_edge_count_as_if_they_left_one_by_one(begins: list[int], at: int):
    facts = [fact for number, begin in enumerate(begins) for fact in entered(f"c{number}", begin)]
    together, singly = told(*facts), told(*facts)
    channels.lost(together, together.connections.values(), at)
    for connection in singly.connections.values():
        channels.closed(singly, connection, max(at, connection.opened_at))
    assert together.channels == singly.channels
    assert together.channel_hours == singly.channel_hours
    assert together.lowered_hours == singly.lowered_hours


@given(
    st.lists(st.integers(HOUR_MS - 60_000, HOUR_MS + 60_000), min_size=1, max_size=8, unique=True).map(sorted),
    st.integers(HOUR_MS - 60_000, HOUR_MS + 60_000),
)
def test_those_who_come_back_with_their_edge_are_as_many_as_if_they_came_one_by_one(begins: list[int], at: int):
    facts = [fact for number, begin in enumerate(begins) for fact in entered(f"c{number}", begin)]
    together, singly = told(*facts), told(*facts)
    for state in (together, singly):
        channels.lost(state, state.connections.values(), HOUR_MS - 60_000)
    channels.found(together, together.connections.values(), at)
    for connection in singly.connections.values():
        channels.found(singly, [connection], at)
    assert without_steps(together) == without_steps(singly)
    assert together.channel_hours == singly.channel_hours
    assert together.lowered_hours == singly.lowered_hours


def without_steps(state: State) -> list[Channel]:
    """Who comes singly makes a step each, though nobody was there without the others."""
    return [replace(row, steps=()) for row in state.channels.values()]


def test_those_who_come_back_with_their_edge_are_one_step_which_takes_no_others_place():
    crowd = [fact for number in range(100) for fact in entered(f"c{number}", 10)]
    others = [fact for number in range(9) for fact in of_edge("i2", *entered(f"d{number}", 500 + number))]
    lost, found = EdgeLost(at=400, instance="i1"), EdgeFound(at=600, instance="i1")
    state = told(*crowd, ("watch", lost), *others, ("watch", found))
    last, before = state.channels["news"].steps[-1], state.channels["news"].steps[-2]
    assert (last, before[0]) == ((600, 109), 10)


def test_a_subscription_that_is_told_again_counts_once_and_one_after_the_end_counts_nobody():
    (opened, subscribed), closed = entered("c1", 10), Closed(at=40, connection="c1", code=1000)
    assert now(told(opened, subscribed, subscribed)) == 1
    state = told(opened, closed, subscribed)
    assert (now(state), state.channels["news"].subscriptions) == (0, 1)


def test_there_are_never_fewer_than_none():
    state = told(*entered("c1", 10))
    state.channels.clear()  # somebody deleted the row
    channels.unsubscribed(state, state.connections["c1"], "news", 20)
    assert now(state) == 0


def of_edge(instance: str, *facts: SessionEvent) -> list[tuple[str, SessionEvent]]:
    return [(instance, fact) for fact in facts]


def killed(at: int, back: int) -> State:
    """Four subscribers of an edge that is killed at `at`; `back` of them come back to another before it is lost."""
    there = [of_edge("i1", *entered(f"c{n}", 10 * n)) for n in range(1, 5)]
    again = [of_edge("i2", *entered(f"d{n}", at + 500 * n)) for n in range(1, back + 1)]
    return told(*itertools.chain(*there, *again), ("watch", EdgeLost(at=at, instance="i1")))


@pytest.mark.parametrize("at", [5_000, HOUR_MS - 1_200, HOUR_MS - 2])
def test_who_comes_back_from_a_killed_edge_is_counted_once(at: int):
    state = killed(at, 4)
    assert (now(state), state.channels["news"].peak, state.channels["news"].peak_at) == (4, 4, 40)
    assert {hour: row.peak for (_, hour), row in state.channel_hours.items()} == {
        0: 4,
        at + 2_000 - (at + 2_000) % HOUR_MS: 4,
    }
    told(*of_edge("i2", *entered("e1", at + 9_000)), state=state)
    assert (state.channels["news"].peak, state.channels["news"].peak_at) == (5, at + 9_000), "peaks that come are right"


def test_the_hours_around_a_loss_end_with_those_who_were_there():
    state = killed(HOUR_MS - 1_200, 4)
    assert [(row.peak, row.last) for _, row in sorted(state.channel_hours.items())] == [(4, 2), (4, 4)]
    assert state.lowered_hours == {("news", 0): 4, ("news", HOUR_MS): 4}


def test_who_subscribed_after_the_edge_was_heard_last_was_there_too():
    state = told(*of_edge("i2", *entered("c1", 10)), *entered("c2", 60), EdgeLost(at=50, instance="i1"))
    assert (now(state), state.channels["news"].peak, state.channels["news"].peak_at) == (1, 2, 60)
    told(*of_edge("i2", *entered("d2", 70)), state=state)
    assert (now(state), state.channels["news"].peak) == (2, 2)


def test_an_hour_of_which_not_all_is_known_is_not_corrected():
    late = HOUR_MS + LATE_MS + 100
    state = told(*entered("c1", late), *entered("c2", late + 10), *entered("c3", HOUR_MS), *entered("c4", late + 20))
    told(*of_edge("i2", *entered("d1", late + 40)), EdgeLost(at=late + 30, instance="i1"), state=state)
    assert (state.channels["news"].peak, state.channels["news"].steps) == (5, ())
    told(*of_edge("i2", *entered("d2", 3 * HOUR_MS)), state=state)
    assert state.channels["news"].steps == ((late + 40, 5), (3 * HOUR_MS, 1), (3 * HOUR_MS, 2))


@given(st.lists(stays, max_size=12))
def test_with_ends_that_are_told_late_peaks_are_those_of_time(all_stays: list[Stay]):
    """What a fold of the facts in the order of time has, and a naive count."""
    facts: list[tuple[int, SessionEvent]] = []
    for number, (begin, length, delay) in enumerate(all_stays):
        name, end = f"c{number}", distinct(begin + length, 2 * number + 1)
        begin = distinct(begin, 2 * number)
        facts += [(begin, fact) for fact in entered(name, begin)]
        facts.append((end + delay, Closed(at=end, connection=name, code=1006)))
    state = told(*(fact for _, fact in sorted(facts, key=lambda one: one[0])))
    in_time = told(*(fact for _, fact in sorted(facts, key=lambda one: one[1].at)))
    assert {name: (row.peak, row.peak_at) for name, row in state.channels.items()} == {
        name: (row.peak, row.peak_at) for name, row in in_time.channels.items()
    }
    for key, row in in_time.channel_hours.items():
        assert state.channel_hours[key] == row
    begins = [row.opened_at for row in state.connections.values()]
    closes = [(row.opened_at, row.closed_at) for row in state.connections.values() if row.closed_at is not None]
    at_once = [sum(begin <= at <= end for begin, end in closes) for at in begins]
    assert max((row.peak for row in state.channels.values()), default=0) == max(at_once, default=0)
