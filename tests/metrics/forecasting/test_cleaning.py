from __future__ import annotations

import math

import pytest

from services.metrics.forecasting.cleaning import DAY, WEEK, cleaned, filled, ordinary


def weeks(count: int) -> list[float]:
    """Logarithms with a daily pattern, lower at weekends."""
    return [
        8 + math.sin(2 * math.pi * hour / DAY) - (0.5 if hour // DAY % 7 >= 5 else 0) for hour in range(count * WEEK)
    ]


def test_gaps_are_filled_from_the_same_hour_of_another_week():
    values: list[float | None] = list(weeks(3))
    truth = weeks(3)
    values[200:230] = [None] * 30
    assert filled(values) == pytest.approx(truth)


def test_gaps_without_a_neighbour_keep_the_last_value():
    assert filled([None, 1.0, None, 3.0, None]) == [1, 1, 1, 3, 3]


@pytest.mark.parametrize("length", [3, 24])
def test_an_outage_or_a_holiday_is_taken_out(length: int):
    values, begin = weeks(5), 4 * WEEK + 2 * DAY
    for hour in range(begin, begin + length):
        values[hour] -= 2
    off = [abs(one - two) for one, two in zip(cleaned(values), weeks(5), strict=True)]
    assert max(off) < 0.1


def test_a_step_that_stays_is_no_disturbance():
    values, begin = weeks(5), 4 * WEEK
    values[begin:] = [one + 0.4 for one in values[begin:]]
    assert cleaned(values) == pytest.approx(values, abs=0.1)


def test_two_weeks_are_needed_to_tell():
    assert cleaned([1.0, 50.0] * 20) == [1.0, 50.0] * 20


def test_with_hindsight_the_past_is_brought_to_the_level_after_a_step():
    values, begin = weeks(5), 4 * WEEK + DAY
    values[begin:] = [one + 0.4 for one in values[begin:]]
    assert ordinary(values) == pytest.approx([one + 0.4 for one in weeks(5)], abs=0.05)


def test_a_day_after_a_step_it_is_seen_and_a_holiday_is_none():
    values = weeks(5)
    values[-DAY:] = [one + 0.4 for one in values[-DAY:]]
    assert ordinary(values) == pytest.approx([one + 0.4 for one in weeks(5)], abs=0.05)
    values = weeks(5)
    values[-4 * DAY : -3 * DAY] = [one - 1 for one in values[-4 * DAY : -3 * DAY]]
    assert ordinary(values) == pytest.approx(weeks(5), abs=0.05)


def test_a_burst_of_an_hour_is_usual_and_stays():
    values = weeks(5)
    values[-50] += 0.5
    assert ordinary(values) == pytest.approx(values)
    assert cleaned(values)[-50] == pytest.approx(weeks(5)[-50], abs=0.05)
