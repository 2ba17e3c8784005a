"""Edges: the life of each process, and how many connections it has had."""

from __future__ import annotations

from proto.events import (
    Closed,
    EdgeDraining,
    EdgeFound,
    EdgeLost,
    EdgeStarted,
    EdgeStopped,
    Erased,
    EventBatch,
    SessionEvent,
)
from services.sessions.models import edges
from services.sessions.rows import Edge
from services.sessions.state import State
from tests.sessions.models.telling import ann, told


def test_a_life_from_start_to_stop():
    state = told(
        EdgeStarted(at=5, software="1.4.0"),
        ann("c1", 10),
        EdgeDraining(at=70, connections=1),
        Closed(at=80, connection="c1", code=1001, by="drain"),
        EdgeStopped(at=90),
        EdgeStarted(at=95, software="9"),  # nobody starts twice
    )
    assert state.edges == {"i1": Edge("i1", "edge-i1", "1.4.0", 5, 95, 5, 70, 90, None, 1, 1)}


def test_a_loss_is_taken_back():
    lost = ("watch-i1", EdgeLost(at=50, instance="i1"))
    state = told(ann("c1", 10), lost)
    assert (state.edges["i1"].lost_at, state.edges["i1"].ended) == (50, 1)
    told(("watch-i1", EdgeFound(at=60, instance="i1")), state=state)
    assert (state.edges["i1"].lost_at, state.edges["i1"].ended) == (None, 0)
    assert state.edges["i1"].last_at == 10, "what others say of it is no word of its own"


def hangs(state: State) -> tuple[int, int | None, int | None]:
    """How many times `i1` hung, and from when to when the last time."""
    row = state.edges["i1"]
    return row.times_hung, row.hung_at, row.found_at


def of_i1(*facts: EdgeLost | EdgeFound) -> list[tuple[str, SessionEvent]]:
    return [("watch-i1", fact) for fact in facts]


def test_an_edge_that_was_found_hung_since_it_was_lost():
    state = told(ann("c1", 10), *of_i1(EdgeLost(at=50, instance="i1")))
    assert hangs(state) == (0, None, None), "it may be dead"
    told(*of_i1(EdgeFound(at=60, instance="i1")), state=state)
    assert hangs(state) == (1, 50, 60)
    told(*of_i1(EdgeLost(at=100, instance="i1")), state=state)
    assert (hangs(state), state.edges["i1"].lost_at) == ((1, 50, 60), 100), "what was before is still known"
    told(*of_i1(EdgeLost(at=130, instance="i1"), EdgeFound(at=140, instance="i1")), state=state)
    assert (hangs(state), state.edges["i1"].lost_at) == ((2, 130, 140), None), "it was back without being heard"


def test_an_edge_whose_loss_the_log_no_longer_has_hung_until_it_was_found():
    state = told(*of_i1(EdgeFound(at=60, instance="i1")))
    assert (hangs(state), state.edges["i1"].edge) == ((1, None, 60), "")
    told(ann("c1", 70), *of_i1(EdgeLost(at=80, instance="i1"), EdgeFound(at=90, instance="i1")), state=state)
    assert hangs(state) == (2, 80, 90)


def test_a_return_that_is_told_again_is_no_other_one():
    lost, found = EdgeLost(at=50, instance="i1"), EdgeFound(at=60, instance="i1")
    assert hangs(told(*of_i1(lost, found, found, EdgeFound(at=61, instance="i1")))) == (1, 50, 60)


def test_an_edge_hung_for_no_less_than_nothing_where_clocks_differ():
    assert hangs(told(*of_i1(EdgeLost(at=50, instance="i1"), EdgeFound(at=48, instance="i1")))) == (1, 50, 50)


def test_an_edge_that_stopped_is_not_lost_unless_it_left_a_connection_open():
    lost = ("watch-i1", EdgeLost(at=50, instance="i1"))
    closed, stopped = Closed(at=20, connection="c1", code=1001), EdgeStopped(at=30)
    assert told(ann("c1", 10), closed, stopped, lost).edges["i1"].lost_at is None, "its stop had not been read yet"
    assert told(ann("c1", 10), stopped, lost).edges["i1"].lost_at == 50


def test_who_watches_and_who_erases_is_no_edge():
    for name, event in (("watch-i1", EdgeLost(at=1, instance="i1")), ("privacy-1", Erased(at=1, user_digest="d"))):
        assert not {"watch-i1", "privacy-1"} & told((name, event)).edges.keys()


def test_a_batch_is_heard_from_its_first_to_its_last_moment_in_whatever_order():
    events: list[SessionEvent] = [EdgeStopped(at=9), EdgeStarted(at=2), EdgeDraining(at=4)]
    state = State(1)
    row = edges.told(state, EventBatch("e", "i1", 1, events), "e", "i1")
    assert row is not None and (row.first_at, row.last_at) == (2, 9)
    edges.told(state, EventBatch("e", "i1", 2, [EdgeStopped(at=1)]), "e", "i1")  # its clock was set back
    assert (row.first_at, row.last_at) == (1, 9)
