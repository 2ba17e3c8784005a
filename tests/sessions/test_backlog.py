"""How much waits is told in facts, and of a large backlog how long it takes; of a small one, and of one that does not
move, nothing is said."""

from __future__ import annotations

import logging

import pytest

from services.sessions.backlog import LARGE, Backlog


def test_a_large_backlog_is_told_of_until_it_is_folded(caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO)
    backlog, total = Backlog(), 4 * LARGE
    for second in range(41):
        done = second * total // 40
        backlog.seen(total - done, 7 + done, 20 * done, float(second))
        if second == 20:
            assert backlog.facts == 20 * total / 2 and backlog.left_s == pytest.approx(20)
    assert (backlog.facts, backlog.left_s) == (0, 0)
    said = [record.getMessage() for record in caplog.records]
    assert said[0] == f"catching up with the session log: 25% of {total} batches, 1000 facts a second, 30 s left"
    assert len(said) == 4 and said[-1] == f"caught up with the session log: {20 * total} facts in 40 s"


def test_what_does_not_move_or_is_soon_done_is_not_told(caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO)
    stuck, small = Backlog(), Backlog()
    for second in range(60):
        stuck.seen(10 * LARGE, 5, 0, float(second))
        small.seen(LARGE - 1, 5 + second, second, float(second))
    assert not caplog.records
    assert stuck.facts == 10 * LARGE and stuck.left_s == 0, "of one fact each, as long as nothing is known"


def test_the_share_is_that_of_one_backlog_and_another_log_begins_anew(caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO)
    backlog = Backlog()
    backlog.seen(LARGE, 1000, 0, 0.0)
    backlog.seen(LARGE, 3, 10, 20.0)
    assert not caplog.records
    backlog.seen(LARGE - 10, 13, 40, 40.0)
    assert "2% of" in caplog.text and backlog.facts == 3 * (LARGE - 10)
