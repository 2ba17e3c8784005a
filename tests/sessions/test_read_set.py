"""The read set of a batch names every row that the fold of the batch touches: never too little."""

from __future__ import annotations

import copy
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proto.events import EventBatch, Opened, Refused, Subscribed, user_digest
from services.sessions.projection import fold
from services.sessions.read_set import ReadSet, read_set_of
from services.sessions.resident import Resident
from services.sessions.rows import Connection, Session
from services.sessions.state import State
from tests.contract.session_rows import rows_of, subscriptions_of
from tests.sessions.stories import WINDOW_MS, long_story, split, stories


def loaded(whole: State, read_set: ReadSet) -> State:
    """A state with copies of those rows of `whole` that the read set names, as a store would load them."""
    state = Resident(WINDOW_MS)
    state.know_erasures(whole.erasures)

    def erased(row: Connection) -> bool:
        session = whole.sessions[row.session_id]
        return row.closed_at is None and bool(session.user) and user_digest(session.user) in read_set.erased

    def of_sessions(sessions: list[Session]) -> None:
        for session in sessions:
            state.add_session(copy.copy(session))

    def of_connections(connections: list[Connection]) -> None:
        of_sessions([whole.sessions[row.session_id] for row in connections])
        for row in connections:
            state.add_connection(copy.copy(row))

    of_connections(
        [
            row
            for row in whole.connections.values()
            if row.id in read_set.connections
            or (row.instance in read_set.lost and row.closed_at is None)
            or (row.instance in read_set.found and row.was_lost)
            or erased(row)
        ]
    )
    for row in whole.connections.values():
        if row.closed_at is None and row.session_id in state.sessions:
            state.add_connection(copy.copy(row))
    ends = read_set.ends(state)
    for span in ends:
        assert read_set.ends_before(span.first + 1), "a store would not look for what comes later"
    for span in read_set.returns(ends, state):
        assert read_set.opens_before(span.first + 1), "a store would not look for what is away"
    assert not read_set.ends_before(0)
    assert not read_set.opens_before(0)
    for lineage, first, last, _ in ends:
        later = [
            one
            for one in whole.sessions.values()
            if one.lineage == lineage and first <= one.opened_at <= last + WINDOW_MS
        ]
        of_connections([row for row in whole.connections.values() if row.session_id in {one.id for one in later}])
    for lineage, first, last, facts in read_set.returns(ends, state):
        away = sorted(
            (one.away_until, one.id)
            for one in whole.sessions.values()
            if one.lineage == lineage and one.away_until is not None and one.away_until >= first
        )
        soon = [key for key in away if key[0] < last]
        of_sessions([whole.sessions[id_] for _, id_ in soon + [key for key in away if key[0] >= last][:facts]])
    open_ones, keys = read_set.whole(state) | read_set.closed(state), read_set.begun(state)
    unsettled = {row.id for row in state.connections.values() if row.closed_at is None or row.was_lost}
    for key, subscription in subscriptions_of(whole).items():
        if key in keys or (subscription.connection in open_ones | unsettled and subscription.until is None):
            state.subscriptions.put(copy.copy(subscription))
    state.channels = {name: copy.copy(whole.channels[name]) for name in read_set.channels(state) & {*whole.channels}}
    edges = read_set.instances() | {row.instance for row in state.connections.values()}
    state.edges = {name: copy.copy(whole.edges[name]) for name in edges & {*whole.edges}}
    return state


def is_enough(batches: list[EventBatch], cuts: list[int]) -> None:
    whole = State(WINDOW_MS)
    for stretch in split(batches, cuts):
        part = loaded(whole, read_set_of(stretch))
        fold(part, stretch)
        fold(whole, stretch)
        assert part.unknown <= whole.unknown
        for name, row in part.sessions.items():
            assert row == whole.sessions[name]
        for name, connection in part.connections.items():
            assert connection == whole.connections[name]
        there = subscriptions_of(whole)
        for key, subscription in subscriptions_of(part).items():
            assert subscription == there[key]
        for name, channel in part.channels.items():
            assert channel == whole.channels[name]
        for name, edge in part.edges.items():
            assert edge == whole.edges[name]
        changes(part, whole)


def changes(part: State, whole: State) -> None:
    """What the two folds of the same facts changed and added, is the same."""
    assert part.changed_sessions == whole.changed_sessions
    assert part.changed_connections == whole.changed_connections
    assert (part.subscriptions.added, part.subscriptions.changed) == (
        whole.subscriptions.added,
        whole.subscriptions.changed,
    )
    assert (part.changed_channels, part.changed_edges) == (whole.changed_channels, whole.changed_edges)
    assert part.removed <= whole.removed
    added = ("timeline", "users", "drops", "versions", "refusals")
    assert rows_of(part, added) == rows_of(whole, added)
    assert part.channel_hours == whole.channel_hours
    assert part.lowered_hours == whole.lowered_hours
    for changed in (
        whole.changed_sessions,
        whole.changed_connections,
        whole.subscriptions.added,
        whole.subscriptions.changed,
        whole.changed_channels,
        whole.changed_edges,
        whole.removed,
        whole.removed_connections,
        whole.timeline,
        whole.users,
        whole.drops,
        whole.openings,
        whole.refusal_counts,
        whole.refusals,
        whole.channel_hours,
        whole.lowered_hours,
    ):
        changed.clear()


@given(stories, st.lists(st.integers(0, 40), max_size=6))
def test_of_any_story(batches: list[EventBatch], cuts: list[int]):
    is_enough(batches, cuts)


@pytest.mark.parametrize("seed", range(60))
def test_of_long_ones(seed: int):
    chance = random.Random(seed)
    is_enough(long_story(seed), [chance.randint(0, 40) for _ in range(chance.choice([3, 10, 80]))])


def test_connections_are_new_that_are_opened_before_anything_else_is_told_of_them():
    early = EventBatch("edge-1", "i1", 1, [Subscribed(at=1, connection="c1", channel="news"), Opened(2, "c2")])
    later = EventBatch("edge-1", "i1", 2, [Opened(3, "c1"), Opened(3, "c2"), Refused(3, "publish", 1, connection="c3")])
    read_set = read_set_of([early, later])
    assert (read_set.connections, read_set.opening) == ({"c1", "c2", "c3"}, {"c2"})
