"""How the peaks of a channel are corrected: what is kept of them, and for how long."""

from __future__ import annotations

from services.sessions.peaks import LATE_MS, MAX_STEPS, Hour, corrected, extended, highest, hours
from services.sessions.rows import HOUR_MS, Steps

NONE: Steps = ((0, 0), (0, 0))


def grown(steps: Steps, *moments: int) -> Steps:
    """One more at each moment."""
    for at in moments:
        steps = extended(steps, at, steps[-1][1] + 1)
    return steps


def test_who_left_was_not_there_at_the_steps_after_that():
    steps = grown(NONE, 10, 20, 30, 40)
    assert corrected(steps, 25, -1) == ((0, 0), (0, 0), (10, 1), (20, 2), (40, 3))
    assert corrected(corrected(steps, 25, -1), 25, -1) == ((0, 0), (0, 0), (10, 1), (20, 2))
    assert highest(corrected(steps, 5, -1)) == (40, 3)
    assert corrected(steps, 40, -1) == steps, "at the same moment is not before"


def test_who_came_before_was_there():
    assert corrected(grown(NONE, 10, 20), 15, 1) == ((0, 0), (0, 0), (10, 1), (20, 3))


def test_each_hour_has_a_peak_of_its_own():
    begin = HOUR_MS - 100
    steps = extended(grown(NONE, begin + 10, begin + 20, begin + 30), HOUR_MS, 1)
    steps = grown(steps, HOUR_MS + 5)
    assert list(hours(steps)) == [Hour(0, 0, 3), Hour(HOUR_MS, 1, 2)]
    steps = corrected(steps, begin + 25, -1)
    assert list(hours(steps)) == [Hour(0, 0, 2), Hour(HOUR_MS, 0, 1)]
    assert highest(steps) == (begin + 20, 2)


def test_steps_of_long_ago_are_one():
    steps = grown(NONE, 10, 20, 30, 20 + LATE_MS)
    assert steps == ((10, 1), (20, 2), (30, 3), (20 + LATE_MS, 4))
    assert extended(steps, HOUR_MS, 0) == ((30, 3), (20 + LATE_MS, 4), (HOUR_MS, 0))


def test_of_many_steps_each_other_one_is_kept():
    steps = grown(NONE, *range(10, 10 + 3 * MAX_STEPS))
    assert len(steps) <= MAX_STEPS + 1
    assert steps[:2] == NONE and steps[-1] == (9 + 3 * MAX_STEPS, 3 * MAX_STEPS)
    levels = [level for _, level in steps[1:]]
    assert levels == sorted(set(levels))
