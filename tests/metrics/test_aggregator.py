"""The state of the cluster, as heartbeats tell it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from services.metrics import aggregator as module
from services.metrics.aggregator import Aggregator, imbalance, sessions_load
from tests.metrics.beats import edge, sessions


def test_gauges_are_those_of_the_living():
    whole = Aggregator(lost_after_s=5, started=0)
    whole.heard(edge("a", connections=3), now=1)
    whole.heard(edge("b", "edge-2", connections=5), now=3)
    assert [beat.instance for beat in whole.alive(5.9)] == ["a", "b"]
    assert [beat.instance for beat in whole.alive(6)] == ["b"]
    assert whole.alive(8) == []


def test_counters_go_on_over_a_restart_a_silence_and_a_forgotten_name():
    whole = Aggregator(lost_after_s=5, started=0)
    whole.heard(edge("a", accepted=10), now=1)
    whole.heard(edge("a", accepted=15), now=100)  # it was silent for long, and counted on
    whole.heard(edge("b", accepted=4), now=101)  # its next start, by the same name
    assert whole.by_name["edge", "edge-1"]["accepted"] == whole.whole["edge_accepted"] == 19
    whole.forget(1_000, after_s=900)
    assert ("edge", "edge-1") in whole.by_name
    whole.forget(1_001, after_s=900)
    assert not whole.by_name
    whole.heard(edge("b", accepted=5), now=1_002)
    assert whole.whole["edge_accepted"] == 20, "the whole never forgets, and counts nothing twice"


def test_earlier_counts_are_not_a_burst():
    whole = Aggregator(lost_after_s=5, started=1_000)
    whole.heard(edge("old", accepted=10_000, uptime_s=500), now=1_001)
    whole.heard(edge("old", accepted=10_007, uptime_s=501), now=1_002)
    whole.heard(edge("new", accepted=3, uptime_s=60), now=1_060)
    assert whole.whole["edge_accepted"] == 10


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(-5, 50), st.integers(0, 30)), max_size=60))
def test_counters_never_fall_whatever_is_heard(said: list[tuple[str, int, int]]):
    whole = Aggregator(lost_after_s=5, started=0)
    now, before = 0, 0.0
    for instance, accepted, pause in said:
        now += pause
        whole.heard(edge(instance, accepted=accepted), now)
        assert whole.whole["edge_accepted"] >= before
        before = whole.whole["edge_accepted"]


def test_imbalance_is_the_fullest_over_the_mean_of_those_that_take_clients():
    assert imbalance([]) == imbalance([edge("a")]) == 1
    assert imbalance([edge("a", connections=30), edge("b", connections=10)]) == 1.5
    assert imbalance([edge("a", connections=10), edge("b", connections=10), edge("c", left=0)]) == 1


def test_of_two_sessions_processes_the_one_ahead_speaks():
    assert sessions_load([edge("a")]) is None
    found = sessions_load([sessions("a", 5, lag=3), sessions("b", 8, lag=0)])
    assert found is not None
    assert (found.stream_sequence, found.lag_batches) == (8, 0)


def test_memory_of_processes_is_bounded(monkeypatch):
    monkeypatch.setattr(module, "MAX_INSTANCES", 10)
    monkeypatch.setattr(module, "MAX_NAMES", 5)
    whole = Aggregator(lost_after_s=5, started=0)
    for number in range(100):
        whole.heard(edge(f"i{number}", f"edge-{number}", accepted=1), now=1)
    assert len(whole.alive(1)) == 10
    assert len(whole.by_name) == 5
    assert whole.whole["edge_accepted"] == 100


def test_an_edge_that_falls_silent_is_lost_once_and_one_that_leaves_is_not():
    whole = Aggregator(lost_after_s=5, started=0)
    whole.heard(edge("killed", "edge-1"), now=1)
    whole.heard(replace(edge("left", "edge-2"), leaving=True), now=1)
    whole.heard(sessions("s", 8, lag=0), now=1)
    whole.listens(-100)
    whole.count_lost(5.5)
    assert whole.edges_lost == 0
    for now in (6, 7, 1000):
        whole.count_lost(now)
        assert whole.edges_lost == 1
    whole.heard(edge("killed", "edge-1"), now=1001)  # it was only frozen
    whole.count_lost(1002)
    whole.count_lost(1010)
    assert whole.edges_lost == 2


def test_nobody_is_lost_because_this_service_hears_nobody():
    whole = Aggregator(lost_after_s=5, started=0)
    whole.heard(edge("a", "edge-1"), now=20)
    whole.heard(edge("killed", "edge-2"), now=20)
    whole.hears_nobody()
    whole.count_lost(100)
    whole.listens(100)
    whole.count_lost(101)
    assert whole.edges_lost == 0
    whole.heard(edge("a", "edge-1"), now=107)  # it took a while to connect again
    whole.count_lost(111)
    assert whole.edges_lost == 1, "the one that did not come back"
