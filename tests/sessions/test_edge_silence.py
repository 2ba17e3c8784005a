"""When silence means that an edge is gone."""

from __future__ import annotations

from services.sessions.edge_silence import MAX_INSTANCES, EdgeSilence


def listening(at: float = 0) -> EdgeSilence:
    silence = EdgeSilence(lost_after_s=5)
    silence.on_connected(at)
    silence.tick(at)
    return silence


def seconds(silence: EdgeSilence, start: int, end: int) -> None:
    for now in range(start, end):
        silence.tick(now)


def test_an_edge_is_lost_five_seconds_after_its_last_heartbeat_and_found_by_the_next():
    silence = listening()
    silence.heard("a", 2, wall_ms=2_000)
    silence.heard("b", 6, wall_ms=6_000)
    seconds(silence, 1, 8)
    assert silence.lost({"a", "b"}, 6.9, 6_900) == {}
    assert silence.lost({"a", "b"}, 7, 7_000) == {"a": 2_000}
    assert silence.found({"a"}, 7) == []
    silence.heard("a", 8, wall_ms=8_000)
    assert silence.found({"a"}, 8) == ["a"]


def test_an_edge_that_was_never_heard_is_lost_when_we_have_listened_long_enough():
    silence = listening(at=10)
    assert silence.lost({"a"}, 14, 14_000) == {}
    assert silence.lost({"a"}, 15, 15_000) == {"a": 10_000}


def test_silence_counts_only_while_we_were_connected():
    silence = listening()
    silence.heard("a", 1, wall_ms=1_000)
    seconds(silence, 1, 4)
    silence.on_disconnected()
    seconds(silence, 4, 60)
    assert silence.lost({"a"}, 60, 60_000) == {}
    silence.on_connected(60)
    seconds(silence, 60, 65)
    assert silence.lost({"a"}, 64, 64_000) == {}
    assert silence.lost({"a"}, 65, 65_000) == {"a": 1_000}


def test_silence_while_this_process_stood_still_does_not_count():
    silence = listening()
    silence.heard("a", 0, wall_ms=0)
    silence.tick(30)
    assert silence.lost({"a"}, 30, 30_000) == {}


def test_it_remembers_a_bounded_number():
    silence = listening()
    for number in range(MAX_INSTANCES + 10):
        silence.heard(f"i{number}", 1, 1_000)
    assert len(silence._heard) == MAX_INSTANCES


def test_a_lost_one_that_opened_connections_and_died_before_it_was_heard_is_lost_again():
    silence = listening()
    silence.heard("a", 1, wall_ms=1_000)
    seconds(silence, 1, 20)
    assert silence.lost_again({"a"}, 20, 20_000) == {}, "it may be heard any moment"
    assert silence.lost_again({"a"}, 24.9, 24_900) == {}
    assert silence.lost_again({"a"}, 25, 25_000) == {"a": 20_000}
    assert silence.lost_again(set(), 26, 26_000) == {}
    assert silence.lost_again({"a"}, 27, 27_000) == {}, "other connections: it counts anew"
    silence.heard("a", 30, wall_ms=30_000)
    assert silence.lost_again({"a"}, 33, 33_000) == {}, "it is back"
