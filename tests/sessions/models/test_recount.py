"""The counting models say what a naive count of the rows says, after any story."""

from __future__ import annotations

import pytest
from hypothesis import given
from msgspec.structs import replace

from proto.events import EventBatch, SessionEvent
from services.sessions.projection import fold
from services.sessions.state import State
from tests.contract.session_rows import rows_of
from tests.sessions.models import recount
from tests.sessions.stories import WINDOW_MS, long_story, stories


def agrees(told: list[EventBatch]) -> None:
    batches = recount.without_erasures(told)
    state = fold(State(WINDOW_MS), batches)
    assert {name: row.subscribers for name, row in state.channels.items() if row.subscribers} == recount.subscribers(
        state
    )
    assert {key: count for key, count in state.drops.items() if count} == recount.drops(state)
    assert {key: count for key, count in state.openings.items() if count} == recount.openings(state)
    assert state.refusal_counts == recount.refusals(batches)
    assert {key: (row.sessions, row.connections) for key, row in state.users.items()} == recount.devices(state)
    edges = {row.instance: (row.opened, row.ended) for row in state.edges.values() if row.opened}
    assert edges == recount.edges(state)
    for name, hung in recount.hangs(batches).items():
        assert (state.edges[name].times_hung, state.edges[name].hung_at, state.edges[name].found_at) == hung
    for row in state.edges.values():
        assert (row.times_hung > 0) == (row.found_at is not None) and (row.hung_at or 0) <= (row.found_at or 0)
    for count in (state.drops, state.openings, state.refusal_counts):
        assert min(count.values(), default=0) >= 0


@given(stories)
def test_after_any_story(batches: list[EventBatch]):
    agrees(batches)


@pytest.mark.parametrize("seed", range(60))
def test_after_long_ones(seed: int):
    agrees(long_story(seed))


@given(stories)
def test_nobody_is_subscribed_who_is_gone_also_where_users_are_erased(batches: list[EventBatch]):
    state = fold(State(WINDOW_MS), batches)
    counted = {name: row.subscribers for name, row in state.channels.items() if row.subscribers}
    assert counted == recount.subscribers(state)


@given(stories, stories)
def test_facts_about_different_people_in_different_places_can_be_told_in_any_order(
    here: list[EventBatch], there: list[EventBatch]
):
    """Two edges write at once: their batches reach the log in any order."""
    elsewhere = [of_others(batch) for batch in recount.without_erasures(there)]
    here = recount.without_erasures(here)
    one = rows_of(fold(State(WINDOW_MS), [*here, *elsewhere]))
    other = rows_of(fold(State(WINDOW_MS), [*elsewhere, *here]))
    assert one == other


def of_others(batch: EventBatch) -> EventBatch:
    """The same facts of another edge, about other connections, users and channels."""

    def renamed(event: SessionEvent) -> SessionEvent:
        names = {name: f"{value}'" for name in NAMED if (value := getattr(event, name, ""))}
        return replace(event, **names)

    return EventBatch(f"{batch.edge}'", f"{batch.instance}'", batch.number, [renamed(event) for event in batch.events])


NAMED = ("connection", "user", "channel", "instance")
