"""Channels: who is subscribed now, the most that were, hour by hour."""

from __future__ import annotations

from proto.events import Closed, EdgeFound, EdgeLost, SessionEvent, Subscribed, Unsubscribed
from services.sessions.models import channels
from services.sessions.rows import HOUR_MS, Channel, ChannelHour
from services.sessions.state import State
from tests.sessions.models.telling import ann, told


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
    assert state.channels == {"news": Channel("news", 0, 2, 20, 2, 10, HOUR_MS + 5)}
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
