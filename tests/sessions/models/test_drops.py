"""Drops: each end of a connection counts once, under what is known of it now."""

from __future__ import annotations

from collections import Counter

from proto.events import BY_LOSS, Closed, EdgeFound, EdgeLost
from services.sessions.models import drops
from services.sessions.rows import DAY_MS, HOUR_MS, MINUTE_MS, DropKey
from services.sessions.state import State
from tests.sessions.models.telling import ann, told

LOST = EdgeLost(at=61_000, instance="i1")


def counted(state: State) -> Counter[tuple[int, int, int, str]]:
    """(width, when, code, by) of what counts."""
    return Counter({(key.width, key.at, key.code, key.by): count for key, count in state.drops.items() if count})


def test_an_end_counts_by_minute_and_by_hour_with_the_version_of_its_client():
    state = told(ann("c1", 0, "2.1"), Closed(at=HOUR_MS + 61_000, connection="c1", code=1001, by="drain"))
    assert state.drops == {
        DropKey(MINUTE_MS, HOUR_MS + MINUTE_MS, "edge-i1", 1001, "drain", "js", "2.1"): 1,
        DropKey(HOUR_MS, HOUR_MS, "edge-i1", 1001, "drain", "js", "2.1"): 1,
        DropKey(DAY_MS, 0, "edge-i1", 1001, "drain", "js", "2.1"): 1,
    }


def test_the_edge_s_own_word_replaces_the_guess_that_it_was_lost():
    state = told(ann("c1", 0), LOST)
    assert counted(state) == {
        (MINUTE_MS, 60_000, 1006, BY_LOSS): 1,
        (HOUR_MS, 0, 1006, BY_LOSS): 1,
        (DAY_MS, 0, 1006, BY_LOSS): 1,
    }
    late = Closed(at=59_000, connection="c1", code=1000, by="client")
    for _ in range(2):
        told(late, state=state)
        assert counted(state) == {
            (MINUTE_MS, 0, 1000, "client"): 1,
            (HOUR_MS, 0, 1000, "client"): 1,
            (DAY_MS, 0, 1000, "client"): 1,
        }


def test_of_an_edge_that_is_found_again_nothing_has_ended():
    state = told(ann("c1", 0), LOST, EdgeFound(at=62_000, instance="i1"), EdgeFound(at=63_000, instance="i1"))
    assert counted(state) == {}


def test_a_connection_that_is_open_has_no_end_to_count():
    state = told(ann("c1", 0))
    drops.count(state, state.connections["c1"], "js")
    assert not state.minutes_of_drops
