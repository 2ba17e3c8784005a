"""Where a webhook begins in a log, and when it goes on."""

from __future__ import annotations

import pytest

from services.sessions.log_nats import LogAway, LogState
from services.sessions.store import Position
from services.sessions.webhooks.progress import Beginning, Progress, beginning_in


def at(epoch: str, sequence: int) -> Progress:
    return Progress(Position(epoch, sequence), 3, 7)


def test_a_new_one_learns_what_the_log_has_and_sends_nothing_of_it():
    assert beginning_in(LogState("a", 5, 9), Progress()) == Beginning(Progress(Position("a", 4), 0, 9), keep=False)
    assert beginning_in(LogState("a", 0, 0), Progress()) == Beginning(Progress(Position("a", 0), 0, 0), keep=False)


@pytest.mark.parametrize("sequence", [4, 5, 9])
def test_it_goes_on_where_it_was(sequence: int):
    assert beginning_in(LogState("a", 5, 9), at("a", sequence)) is None
    assert beginning_in(LogState("a", 10, 9), at("a", 9)) is None, "the log is empty, and all of it was delivered"


def test_what_the_log_has_dropped_is_counted_and_what_was_known_is_not_true_any_more():
    assert beginning_in(LogState("a", 5, 9), at("a", 1)) == Beginning(Progress(Position("a", 4), 0, 9), False, gone=3)


def test_another_log_is_sent_from_its_beginning_and_what_is_known_stays():
    assert beginning_in(LogState("b", 1, 2), at("a", 9)) == Beginning(Progress(Position("b", 0)), keep=True)


def test_a_log_that_was_rolled_back_is_waited_for():
    with pytest.raises(LogAway):
        beginning_in(LogState("a", 1, 8), at("a", 9))
