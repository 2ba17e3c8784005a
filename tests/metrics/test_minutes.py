"""Heartbeats become minutes."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
import pytest
from msgspec import structs

from proto.telemetry import EdgeMemory, Heartbeat
from services.metrics.minutes import WHOLE, Minute, MinuteBook
from tests.metrics.beats import edge, sessions


def told(book: MinuteBook, beats: Iterable[tuple[float, Heartbeat]], until: float) -> dict[str, Minute]:
    ended = [minute for now, beat in beats for minute in book.heard(beat, now)]
    return {one.edge: one for one in [*ended, *book.turn(until)]}


def test_a_minute_has_means_and_rates():
    beats = [(float(s), edge("a", connections=s, accepted=3 * s, cpu_s=0.5 * s)) for s in range(60)]
    minutes = told(MinuteBook(), [(600 + s, beat) for s, beat in beats], until=660)
    own = minutes["edge-1"]
    assert (own.minute, own.seconds, own.connections) == pytest.approx((600, 60, 29.5))
    assert (own.accepted, own.messages_out, own.cpu) == pytest.approx((3, 30, 0.5))
    assert (own.memory_bytes, own.open_fds, own.loop_lag_max_s) == (50_000_000, 20, 0.001)
    assert minutes[WHOLE]._replace(edge="edge-1") == own


def test_an_edge_that_says_what_it_uses_of_its_memory_is_taken_at_its_word():
    beat = msgspec.structs.replace(edge("a"), memory=EdgeMemory(used=60_000_000, limit=500_000_000))
    own = told(MinuteBook(), [(600.0 + second, beat) for second in range(60)], until=660)["edge-1"]
    assert (own.memory_bytes, own.memory_limit) == (60_000_000, 500_000_000)


def test_each_minute_is_told_once_and_only_when_it_has_ended():
    book = MinuteBook()
    assert book.heard(edge("a"), 601) == []
    assert book.turn(659.9) == []
    assert [one.edge for one in book.turn(660)] == ["edge-1", WHOLE]
    assert book.turn(661) == []
    assert book.turn(720) == []  # nobody was heard


def test_a_restart_within_a_minute_counts_once():
    """The counters of the new process begin at zero: no rate is negative, and none bursts."""
    before = [(600.0 + s, edge("a", connections=10, accepted=1000 + s)) for s in range(30)]
    after = [(630.0 + s, edge("b", connections=10, accepted=s)) for s in range(30)]
    own = told(MinuteBook(), [*before, *after], until=660)["edge-1"]
    assert (own.seconds, own.connections, own.accepted) == pytest.approx((60, 10, 1))


def test_two_processes_of_one_name_add_up():
    beats = [(600.0 + s, s) for s in range(60)]
    both = [(now, edge(name, connections=10, accepted=5 * s, cpu_s=0.2 * s)) for now, s in beats for name in "ab"]
    own = told(MinuteBook(), both, until=660)["edge-1"]
    assert (own.connections, own.memory_bytes, own.loop_lag_s) == pytest.approx((20, 100_000_000, 0.001))
    assert (own.accepted, own.cpu, own.seconds) == pytest.approx((10, 0.4, 60))


@pytest.mark.parametrize("jitter_s", [0.0, 0.002, 0.4])
def test_beats_on_the_boundary_of_a_second_count_each_once(jitter_s):
    """Some seconds of the wall clock have two of them then, and others none."""
    beats = [(600.5 + s - 0.5 * (s % 2) * jitter_s, edge("a", connections=1000)) for s in range(60)]
    shifted = [(now + 0.5, beat) for now, beat in beats if now + 0.5 < 660]
    own = told(MinuteBook(), shifted, until=660)["edge-1"]
    assert own.connections == pytest.approx(1000)
    assert own.seconds >= 59


def test_a_clock_that_was_far_ahead_holds_nothing_up():
    book = MinuteBook()
    book.heard(edge("a"), 1_000_000)
    book.heard(edge("a"), 600)
    book.heard(edge("a"), 601)
    assert [one.minute for one in book.turn(660)] == [600, 600]


def test_the_whole_adds_up_edges_and_counts_one_that_came_late_in_part():
    beats = [(600.0 + s, edge("a", "edge-1", connections=10)) for s in range(60)]
    beats += [(630.0 + s, edge("b", "edge-2", connections=40)) for s in range(30)]
    whole = told(MinuteBook(), sorted(beats, key=lambda one: one[0]), until=660)[WHOLE]
    assert (whole.connections, whole.edges, whole.seconds) == (30, 1.5, 60)


def test_a_step_over_a_long_silence_is_no_rate():
    book = MinuteBook()
    book.heard(edge("a", accepted=0), 600)
    book.heard(edge("a", accepted=1_000_000), 655)
    assert book.turn(660)[0].accepted == 0


def test_other_services_are_not_counted_and_a_drain_is_marked():
    book = MinuteBook()
    book.heard(sessions("s", 1, 0), 600)
    book.heard(edge("a", left=5), 601)
    book.heard(edge("a"), 602)
    (own, whole) = book.turn(660)
    assert (own.edge, own.draining, whole.draining) == ("edge-1", True, False)


def test_figures_survive_a_beat_without_load():
    book = MinuteBook()
    book.heard(structs.replace(edge("a"), edge=None), 600)
    assert book.turn(660) == []
