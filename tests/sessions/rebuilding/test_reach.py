"""Which epochs of the log are folded, in which order, and since when there is anything."""

from __future__ import annotations

from services.sessions.log_archive_postgres import ArchivedEpoch
from services.sessions.rebuilding.reach import StreamReach, reach_of
from services.sessions.store import Position

OLD, OWN = ArchivedEpoch("old", 1, 90, 1_000), ArchivedEpoch("own", 11, 40, 5_000)


def test_the_stream_alone():
    reach = reach_of([], StreamReach("own", 1, 50, 7_000), Position("own", 50))
    assert (reach.epochs, reach.first, reach.first_at, reach.messages) == ((Position("own", 50),), 1, 7_000, 50)
    assert reach.is_whole and reach.told.startswith(
        "the session log reaches back to 1970-01-01 00:00:07 UTC (message 1)"
    )
    assert reach.told.endswith("about 50 messages, each with one fact or several")


def test_a_log_that_is_over_comes_first_and_the_stream_goes_on_behind_the_archive():
    reach = reach_of([OLD, OWN], StreamReach("own", 31, 55, 6_000), Position("own", 50))
    assert reach.epochs == (Position("old", 90), Position("own", 50))
    assert (reach.first, reach.first_at, reach.messages) == (1, 1_000, 90 + 20 + 20)
    assert reach.told.endswith("; the archive has messages of 11 to 40")


def test_that_nothing_of_this_log_is_archived_is_said():
    reach = reach_of([OLD], StreamReach("own", 1, 55, 6_000), Position("own", 50))
    assert reach.told.startswith("the session log and its archive reach back to ")
    assert reach.told.endswith("; of this log none is archived")


def test_what_the_archive_has_of_the_beginning_counts():
    reach = reach_of([OWN], StreamReach("own", 11, 50, 5_000), Position("own", 50))
    assert (reach.first, reach.messages, reach.is_whole) == (11, 40, False)
    assert reach.told.startswith("the session log and its archive reach back to ")


def test_a_stream_of_another_epoch_or_behind_the_position_is_none():
    for stream in (None, StreamReach("new", 1, 5, 9_000), StreamReach("own", 41, 60, 9_000)):
        assert reach_of([OWN], stream, Position("own", 40)).messages == 30
    nothing = reach_of([], None, Position("own", 40))
    assert (nothing.first_at, nothing.messages, nothing.told) == (0, 0, "the session log has no message at all")
