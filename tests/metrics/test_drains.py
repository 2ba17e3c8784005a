"""How long edges take to drain, as those hear it that survive them."""

from __future__ import annotations

from msgspec.structs import replace

from services.metrics.aggregator import Aggregator
from services.metrics.drains import Drains
from tests.metrics.beats import edge


def test_a_drain_is_timed_from_its_first_heartbeat_to_the_last_one_of_the_edge():
    whole = Aggregator(lost_after_s=5, started=0)
    for now in range(1, 9):
        whole.heard(edge("a", left=8 - now if now > 2 else None), now)
    assert whole.drains.seconds.count == 0, "it has not ended yet"
    whole.heard(replace(edge("a", left=0), leaving=True), now=9)
    whole.heard(replace(edge("idle", "edge-2"), leaving=True), now=9)
    assert (whole.drains.seconds.count, whole.drains.seconds.sum, whole.drains.lost) == (1, 6, 0)


def test_an_edge_that_hangs_in_its_drain_is_counted_once_whatever_it_says_later():
    whole = Aggregator(lost_after_s=5, started=0)
    whole.listens(-100)
    whole.heard(edge("a", left=3), now=1)
    whole.count_lost(5.9)
    assert whole.drains.lost == 0
    whole.count_lost(6)
    whole.count_lost(7)
    whole.heard(edge("a", left=3), now=13)  # its machine stood still
    whole.heard(replace(edge("a", left=0), leaving=True), now=14)
    whole.count_lost(100)
    assert (whole.drains.lost, whole.drains.seconds.count) == (1, 0)


def test_an_edge_that_is_gone_for_long_is_forgotten():
    drains = Drains()
    drains.heard(edge("a", left=3), now=1)
    drains.forget(set())
    drains.fell_silent("a")
    assert drains.lost == 0
