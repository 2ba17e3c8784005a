"""When silence means that an edge is gone."""

from __future__ import annotations

from services.sessions.edge_watch import MAX_INSTANCES, EdgeWatch


def listening(at: float = 0) -> EdgeWatch:
    watch = EdgeWatch(lost_after_s=5)
    watch.on_connected(at)
    watch.tick(at)
    return watch


def seconds(watch: EdgeWatch, start: int, end: int) -> None:
    for now in range(start, end):
        watch.tick(now)


def test_an_edge_is_lost_five_seconds_after_its_last_heartbeat_and_found_by_the_next():
    watch = listening()
    watch.heard("a", 2, wall_ms=2_000)
    watch.heard("b", 6, wall_ms=6_000)
    seconds(watch, 1, 8)
    assert watch.lost({"a", "b"}, 6.9, 6_900) == {}
    assert watch.lost({"a", "b"}, 7, 7_000) == {"a": 2_000}
    assert watch.found({"a"}, 7) == []
    watch.heard("a", 8, wall_ms=8_000)
    assert watch.found({"a"}, 8) == ["a"]


def test_an_edge_that_was_never_heard_is_lost_when_we_have_listened_long_enough():
    watch = listening(at=10)
    assert watch.lost({"a"}, 14, 14_000) == {}
    assert watch.lost({"a"}, 15, 15_000) == {"a": 10_000}


def test_silence_counts_only_while_we_were_connected():
    watch = listening()
    watch.heard("a", 1, wall_ms=1_000)
    seconds(watch, 1, 4)
    watch.on_disconnected()
    seconds(watch, 4, 60)
    assert watch.lost({"a"}, 60, 60_000) == {}
    watch.on_connected(60)
    seconds(watch, 60, 65)
    assert watch.lost({"a"}, 64, 64_000) == {}
    assert watch.lost({"a"}, 65, 65_000) == {"a": 1_000}


def test_silence_while_this_process_stood_still_does_not_count():
    watch = listening()
    watch.heard("a", 0, wall_ms=0)
    watch.tick(30)
    assert watch.lost({"a"}, 30, 30_000) == {}


def test_it_remembers_a_bounded_number():
    watch = listening()
    for number in range(MAX_INSTANCES + 10):
        watch.heard(f"i{number}", 1, 1_000)
    assert len(watch._heard) == MAX_INSTANCES
