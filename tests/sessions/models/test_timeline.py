"""Timelines: the facts about a connection, by the batches in which its edge told them."""

from __future__ import annotations

from collections import defaultdict

from proto.events import CaughtUp, Closed, EventBatch, Lagged, Refreshed, SessionEvent, Subscribed, Unsubscribed
from services.sessions.models import timeline
from services.sessions.projection import fold
from services.sessions.rows import TimelineEntry
from services.sessions.state import State
from tests.sessions.models.telling import ann, told
from tests.sessions.stories import WINDOW_MS


def test_the_facts_of_a_batch_are_one_row_of_each_connection():
    facts: list[SessionEvent] = [
        ann("c1", 5),
        ann("c2", 6),
        Subscribed(at=7, connection="c1", channel="news"),
        Lagged(at=8, connection="c1", waiting=9),
    ]
    state = fold(State(WINDOW_MS), [EventBatch("e", "i1", 3, facts)])
    assert state.timeline == {
        ("c1", 3): TimelineEntry("c1", 3, 5, [facts[0], facts[2], facts[3]]),  # type: ignore[list-item]  # of c1
        ("c2", 3): TimelineEntry("c2", 3, 6, [facts[1]]),  # type: ignore[list-item]  # of c2
    }


def test_what_changed_nothing_and_what_is_about_nobody_is_not_noted():
    closed = Closed(at=9, connection="c1", code=1000)
    state = told(
        ann("c1", 5),
        ann("c1", 5),
        Unsubscribed(at=6, connection="c1", channel="never"),
        closed,
        closed,
        Refreshed(at=9, connection="nobody"),
        CaughtUp(at=10, connection="c1", lagged_ms=3),
    )
    facts = [fact for entry in state.timeline.values() for fact in entry.facts]
    assert facts == [ann("c1", 5), closed, CaughtUp(at=10, connection="c1", lagged_ms=3)]
    assert state.unknown == 1


def test_facts_of_a_batch_that_come_later_are_added():
    state = told(ann("c1", 5))
    notes: timeline.Notes = defaultdict(list, {"c1": [CaughtUp(at=10, connection="c1")]})
    timeline.settle(state, notes, 1)
    assert not notes
    assert state.timeline["c1", 1].facts == [ann("c1", 5), CaughtUp(at=10, connection="c1")]
