"""What the local autoscaler decides: within the bounds, one edge at a time, never while another one drains."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.local.scaling import FEWER_FOR_S, RETRY_S, START_WITHIN_S, Change, EdgeState, Scaling

STARTS_IN_S, DRAINS_IN_S = 3, 9


@dataclass
class Stack:
    """Edges as supervisord would run them, second by second."""

    least: int = 2
    most: int = 6
    now: float = 0.0
    made: list[tuple[float, Change]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.edges = {n: EdgeState.ready if n <= self.least else EdgeState.stopped for n in range(1, self.most + 1)}
        self.since = dict.fromkeys(self.edges, 0.0)
        self.scaling = Scaling(self.least, self.most)

    def run(self, seconds: int, recommended: int | None) -> list[Change]:
        """Runs for so long with one recommendation; returns the changes of this time."""
        before = len(self.made)
        for _ in range(seconds):
            self.second(recommended)
        return [change for _, change in self.made[before:]]

    def second(self, recommended: int | None) -> None:
        self.now += 1
        for edge, state in self.edges.items():
            lasted = self.now - self.since[edge]
            if state is EdgeState.waiting and lasted >= STARTS_IN_S:
                self.turn(edge, EdgeState.ready)
            elif state is EdgeState.draining and lasted >= DRAINS_IN_S:
                self.turn(edge, EdgeState.stopped)
        change = self.scaling.decide(self.now, recommended, dict(self.edges))
        if change is not None:
            self.made.append((self.now, change))
            self.turn(change.edge, EdgeState.waiting if change.action == "start" else EdgeState.draining)

    def turn(self, edge: int, state: EdgeState) -> None:
        self.edges[edge] = state
        self.since[edge] = self.now

    def count(self, *states: EdgeState) -> int:
        return sum(state in states for state in self.edges.values())


def test_under_load_edges_start_one_after_another_each_when_the_last_is_ready():
    stack = Stack()
    assert [(one.action, one.edge) for one in stack.run(2, 5)] == [("start", 3)]
    assert [(one.action, one.edge) for one in stack.run(20, 5)] == [("start", 4), ("start", 5)]
    assert stack.made[0][1].reason == "edges running: 2, needed: 5"
    assert all(later - earlier >= STARTS_IN_S for (earlier, _), (later, _) in itertools.pairwise(stack.made))


def test_after_it_the_youngest_edges_drain_one_after_another():
    stack = Stack()
    stack.run(60, 5)
    changes = stack.run(120, 2)
    assert [(one.action, one.edge) for one in changes] == [("stop", 5), ("stop", 4), ("stop", 3)]
    times = [at for at, _ in stack.made[-3:]]
    assert all(later - earlier >= DRAINS_IN_S + FEWER_FOR_S for earlier, later in itertools.pairwise(times))


def test_a_short_dip_stops_nothing():
    stack = Stack()
    stack.run(60, 4)
    for _ in range(20):
        assert stack.run(int(FEWER_FOR_S), 3) == []
        assert stack.run(1, 4) == []


@pytest.mark.parametrize("unknown_for", [1, 10_000])
def test_without_a_recommendation_all_stays_as_it_is(unknown_for: int):
    stack = Stack()
    stack.run(60, 4)
    assert stack.run(unknown_for, None) == []
    assert stack.count(EdgeState.ready) == 4


def test_without_a_recommendation_the_least_still_run():
    stack = Stack()
    stack.turn(1, EdgeState.stopped)
    assert [(one.action, one.edge, one.reason) for one in stack.run(10, None)] == [
        ("start", 1, "edges running: 1, needed: 2")
    ]


def test_no_edge_stops_while_another_one_takes_no_clients():
    stack = Stack()
    stack.run(60, 5)
    stack.turn(2, EdgeState.waiting)  # killed, say
    stack.since[2] = float("inf")
    assert stack.run(120, 2) == []
    stack.turn(2, EdgeState.ready)
    assert stack.run(int(FEWER_FOR_S), 2) == []
    assert stack.run(2, 2) != []


def test_an_edge_that_serves_but_takes_no_more_clients_does_not_keep_others_from_coming():
    """One over its soft limit of memory is unready: just then more edges are needed."""
    stack = Stack()
    stack.turn(2, EdgeState.waiting)
    stack.since[2] = float("inf")
    assert [(one.action, one.edge) for one in stack.run(1, 3)] == [("start", 3)]


def test_a_start_that_hangs_is_waited_for_and_then_no_more():
    stack = Stack()
    stack.run(1, 4)
    stack.since[3] = float("inf")
    assert stack.run(int(START_WITHIN_S) - 1, 4) == []
    assert [(one.action, one.edge) for one in stack.run(1, 4)] == [("start", 4)]


def test_another_edge_runs_in_place_of_one_that_does_not_stay_up():
    stack = Stack()
    stack.run(10, 3)
    stack.turn(3, EdgeState.failed)
    assert [(one.action, one.edge) for one in stack.run(300, 3)] == [("start", 4)]


def test_if_there_is_no_other_it_is_tried_again_now_and_then():
    stack = Stack(least=2, most=2)
    stack.turn(2, EdgeState.failed)
    tried = []
    for _ in range(300):
        for change in stack.run(1, 2):
            tried.append(stack.now)
            stack.turn(change.edge, EdgeState.failed)
    assert len(tried) == 5
    assert all(later - earlier >= RETRY_S for earlier, later in itertools.pairwise(tried))


def test_a_recommendation_that_swings_between_two_numbers_moves_one_edge_once():
    stack = Stack()
    for second in range(600):
        stack.second(4 if second % 7 < 3 else 3)
    assert [change.action for _, change in stack.made] == ["start", "start"]


BOUNDS = st.integers(1, 5).flatmap(lambda least: st.tuples(st.just(least), st.integers(least, 8)))
ANSWERS = st.lists(st.tuples(st.integers(1, 40), st.none() | st.integers(-2, 50)), max_size=12)
TROUBLE = st.lists(st.tuples(st.integers(0, 200), st.integers(1, 8), st.sampled_from(EdgeState)), max_size=4)


@given(BOUNDS, ANSWERS, TROUBLE)
def test_whatever_is_recommended_and_happens(bounds, answers, trouble):
    least, most = bounds
    stack = Stack(least, most)
    due = sorted((at, edge, state) for at, edge, state in trouble if edge <= most)
    for seconds, recommended in answers:
        for _ in range(seconds):
            while due and due[0][0] <= stack.now:
                _, edge, state = due.pop(0)
                stack.turn(edge, state)
            before, made = dict(stack.edges), len(stack.made)
            stack.second(recommended)
            changes = [change for _, change in stack.made[made:]]
            assert len(changes) <= 1
            for change in changes:
                running = stack.count(EdgeState.waiting, EdgeState.ready)
                if change.action == "stop":
                    assert running >= least
                    assert recommended is not None and running >= recommended
                    assert stack.count(EdgeState.draining) == 1, "one drains at a time"
                    assert stack.count(EdgeState.waiting) == 0, "all others serve"
                    assert before[change.edge] in (EdgeState.ready, EdgeState.waiting)
                else:
                    assert running <= most
                    assert running <= max(least, recommended or 0)


@given(BOUNDS, st.integers(-2, 50), st.integers(-2, 50))
def test_it_arrives_at_what_is_recommended_and_rests_there(bounds, first, then):
    least, most = bounds
    stack = Stack(least, most)
    for recommended in (first, then):
        stack.run(8 * (DRAINS_IN_S + int(FEWER_FOR_S) + 3), recommended)
        wanted = min(max(recommended, least), most)
        assert stack.count(EdgeState.ready) == wanted
        assert [edge for edge, state in stack.edges.items() if state is EdgeState.ready] == list(range(1, wanted + 1))
        assert stack.run(60, recommended) == []
