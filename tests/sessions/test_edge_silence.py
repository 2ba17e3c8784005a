"""When silence means that an edge is gone."""

from __future__ import annotations

from services.sessions.edge_silence import MAX_INSTANCES, EdgeSilence, Sighting


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


def started(at: float = 100) -> EdgeSilence:
    """A process that has just begun, after another that heard edge `a` at 98,000 ms for the last time."""
    silence = EdgeSilence(lost_after_s=5)
    silence.on_connected(at, at_the_start=True)
    silence.tick(at)
    silence.recall({"a": Sighting("edge-1", 98_000, 97_000)})
    return silence


def test_one_that_died_before_this_process_began_ended_when_the_process_before_heard_it_last():
    silence = started()
    seconds(silence, 100, 104)
    assert silence.lost({"a"}, 102.9, 104_000) == {}, "its heartbeat may be under way"
    assert silence.lost({"a"}, 104, 102_900) == {}, "five seconds of silence it must be"
    assert silence.lost({"a"}, 103, 103_000) == {"a": 98_000}
    assert silence.name_of("a") == "edge-1"


def test_a_listening_that_is_not_the_first_lasts_five_seconds_whatever_is_recalled():
    for reconnects in (True, False):
        silence = started(at=90)
        silence.tick(92)
        silence.tick(100)  # it stood still
        if reconnects:
            silence.on_disconnected()
            silence.on_connected(100)
        seconds(silence, 101, 105)
        assert silence.lost({"a"}, 104.9, 104_900) == {}
        assert silence.lost({"a"}, 105, 105_000) == {"a": 98_000}


def test_one_that_another_process_hears_is_not_lost():
    silence = listening()
    silence.heard("a", 1, wall_ms=1_000)
    seconds(silence, 1, 20)
    silence.recall({"a": Sighting("edge-1", 18_000)})
    assert silence.lost({"a"}, 20, 20_000) == {}
    assert silence.lost({"a"}, 23, 23_000) == {"a": 18_000}, "the other one heard it last"
    silence.recall({"a": Sighting("edge-1", 99_000)})
    assert silence.lost({"a"}, 23, 23_000) == {"a": 1_000}, "a clock that is far ahead is not believed"
    assert sorted(silence.suspects({"a", "b"}, 23)) == ["a", "b"]
    silence.heard("a", 24, wall_ms=24_000)
    assert silence.suspects({"a", "b"}, 24) == ["b"]
    silence.on_disconnected()
    assert silence.suspects({"a", "b"}, 60) == []


def test_one_that_nobody_heard_ended_with_its_last_fact():
    silence = listening(at=10)
    silence.recall({"a": Sighting("", None, 3_000), "b": Sighting("", None, 99_000), "c": Sighting("", None)})
    assert silence.lost({"a", "b", "c"}, 15, 15_000) == {"a": 3_000, "b": 10_000, "c": 10_000}


def test_late_facts_of_a_lost_one_end_with_the_last_of_them():
    silence = listening()
    silence.heard("a", 1, wall_ms=1_000)
    seconds(silence, 1, 26)
    silence.lost_again({"a"}, 20, 20_000)
    silence.recall({"a": Sighting("edge-1", 1_000, 1_400)})
    assert silence.lost_again({"a"}, 25, 25_000) == {"a": 1_400}
