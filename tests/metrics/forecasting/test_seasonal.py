"""The forecast on simulated weeks: beside repeating the week before, and whether its intervals hold what they say.

`python -m perf forecast` measures the same on many more weeks."""

from __future__ import annotations

import pytest

from perf.load.weeks import simulate
from services.metrics.forecasting.cleaning import filled
from services.metrics.forecasting.prediction import LEVELS, Prediction, Series
from services.metrics.forecasting.seasonal import MIN_HOURS, TooShort, predict

LOW, MIDDLE, HIGH = (LEVELS.index(level) for level in (0.1, 0.5, 0.9))


def foreseen(name: str) -> tuple[Prediction, list[float], list[float]]:
    """The prediction, what came, and what the week before would have said."""
    weeks = simulate(name, seed=0)
    seen = filled(weeks.seen)
    return predict(Series(start=0, values=seen), 168), weeks.true, seen[-168:]


def error(made: list[float], true: list[float]) -> float:
    return sum(abs(one - two) for one, two in zip(made, true, strict=True)) / sum(true)


@pytest.mark.parametrize("name", ["trend", "step"])
def test_it_foresees_a_week_better_than_the_week_before_and_knows_how_well(name: str):
    made, true, before = foreseen(name)
    median = [hour[MIDDLE] for hour in made.quantiles]
    assert error(median, true) < 0.1
    assert error(median, true) < error(before, true)
    covered = [hour[LOW] <= one <= hour[HIGH] for hour, one in zip(made.quantiles, true, strict=True)]
    assert sum(covered) / len(covered) > 0.65  # 0.8 in the long run
    assert made.start == 3600 * (len(simulate(name, seed=0).seen))


def test_quantiles_ascend_and_are_not_negative():
    weeks = simulate("weekly", seed=1, weeks=3)
    made = predict(Series(start=0, values=[max(0.0, value - 3000) for value in filled(weeks.seen)]), 48)
    assert len(made.quantiles) == 48
    for hour in made.quantiles:
        assert hour == sorted(hour)
        assert hour[0] >= 0


def test_a_few_days_have_a_daily_pattern_only_and_wide_intervals():
    seen = filled(simulate("weekly", seed=2).seen)[: 4 * 24]
    made = predict(Series(start=0, values=seen), 24)
    peak = max(range(24), key=lambda hour: made.quantiles[hour][MIDDLE])
    assert peak in range(8, 21)
    assert made.naive_error is None


def test_too_little_history_is_refused_with_how_much_is_needed():
    with pytest.raises(TooShort, match=f"needs {MIN_HOURS} hours of history, and there are 20"):
        predict(Series(start=0, values=[1.0] * 20), 24)


def test_no_load_at_all_is_foreseen_as_none():
    made = predict(Series(start=0, values=[0.0] * 400), 24)
    assert made.quantiles[5][MIDDLE] == pytest.approx(0, abs=1e-6)
