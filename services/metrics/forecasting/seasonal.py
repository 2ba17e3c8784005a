"""The forecast itself, with statsmodels: trend, daily and weekly pattern, and intervals from its own past errors.

MSTL removes the daily and weekly pattern from the logarithm of the series (with twice the users the pattern is twice as
high); exponential smoothing gives the present level of the rest, the median of the differences between weeks gives its
growth; then the last patterns are added again. The library's intervals assume that errors are independent and normal,
which is wrong for traffic. So the last weeks are predicted from what was known then, at up to `ORIGINS` moments, and
the intervals are taken from the errors of these predictions. Steps, outages and holidays are removed before
(`ordinary`), and are not predicted.

Two alternatives failed on simulated weeks (perf/results/2026-11-28-forecast): MSTL with its default windows takes the
last week's noise for a pattern, and optimized damped smoothing is 15 % off after steady growth.

Only the worker imports this module: numpy, scipy, pandas and statsmodels take 1.4 s of CPU and 150 MB.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from statsmodels.tsa.seasonal import MSTL

from services.metrics.forecasting.cleaning import DAY, WEEK, cleaned, ordinary
from services.metrics.forecasting.prediction import LEVELS, Prediction, Series

MIN_HOURS: Final = 3 * DAY
"""Less history is not enough for a forecast."""
MAX_HOURS: Final = 10 * WEEK
"""Older hours say nothing about the coming week that newer ones do not."""
ORIGINS: Final = 8
_EVERY: Final = 41  # hours between origins: each is at a different hour of the day and of the week
_FIRST: Final = 24  # hours since the newest origin: a day of its errors is known
_FLOOR: Final = 0.1  # of the mean, added before the logarithm, so that an hour without load is not minus infinity
_WINDOW: Final = 51  # cycles over which a pattern is averaged: practically all
_OPTIONS: Final = {"seasonal_deg": 0, "trend_jump": 12, "low_pass_jump": 12}  # the jumps: a fifth of the time
_SMOOTHING: Final = 0.03  # of the level: a day and a half of memory, so a step is followed within two days
_DAMPING: Final = 0.9  # of the growth
_GROWTH_WEEKS: Final = 4
_STRETCHES: Final = (3, 12, 36, 84, WEEK)  # ends of the stretches of hours ahead that share their errors
_SPREAD: Final = 1.15  # a few origins understate the spread of all errors

Array = npt.NDArray[np.float64]


class TooShort(Exception):
    """There is not enough history. The text says how much there is and how much is needed."""


def predict(series: Series, horizon: int) -> Prediction:
    """Predicts the `horizon` hours after `series`. Raises `TooShort`."""
    values = np.maximum(0.0, np.asarray(series.values[-MAX_HOURS:], float))
    if len(values) < MIN_HOURS:
        raise TooShort(f"a forecast needs {MIN_HOURS} hours of history, and there are {len(values)}")
    floor = _FLOOR * float(values.mean()) or 1.0
    logs = np.asarray(ordinary(np.log(values + floor).tolist()), float)
    past = _errors(logs)
    points = forward(logs, horizon)
    spread = _quantiles(list(past.values()), horizon)
    made = np.maximum(0.0, np.exp(points[:, None] + spread) - floor)
    day, naive = _score(logs, floor, past)
    return Prediction(
        start=series.start + 3600 * len(series.values),
        quantiles=[[float(one) for one in hour] for hour in made],
        error=day,
        naive_error=naive,
    )


def forward(logs: Array, horizon: int) -> Array:
    """The next `horizon` values of a series of logarithms."""
    clean = np.asarray(cleaned(logs.tolist()), float)
    periods = [period for period in (DAY, WEEK) if len(clean) >= 2 * period + 1]
    parts: Any = MSTL(clean, periods=periods, windows=[_WINDOW] * len(periods), stl_kwargs=_OPTIONS).fit()
    seasonal = np.asarray(parts.seasonal, float).reshape(len(clean), -1)
    growth = _DAMPING * _growth(clean)
    rest = clean - seasonal.sum(axis=1) - growth * np.arange(len(clean))
    now = float(rest[:DAY].mean())
    for value in rest.tolist():
        now += _SMOOTHING * (value - now)
    ahead = np.arange(horizon)
    level: Array = np.asarray(now + growth * (len(clean) + ahead), np.float64)
    for number, period in enumerate(periods):
        level += seasonal[-period:, number][ahead % period]
    return level


def _growth(logs: Array) -> float:
    """By how much the series grows each hour: the median of the differences between hours of the last weeks and the
    same hours a week before. A step, an outage or a holiday hardly changes the median. Less than three weeks do not
    show a growth."""
    if len(logs) < 3 * WEEK:
        return 0.0
    recent = logs[-min(len(logs) - WEEK, _GROWTH_WEEKS * WEEK) :]
    before = logs[-len(recent) - WEEK : -WEEK]
    return float(np.median(recent - before)) / WEEK


def _origins(length: int) -> list[int]:
    least = 2 * WEEK + 1 if length > 2 * WEEK + 1 + _FIRST else 2 * DAY + 1
    found = [length - _FIRST - _EVERY * number for number in range(ORIGINS)]
    return [origin for origin in found if origin >= least]


def _errors(logs: Array) -> dict[int, Array]:
    """By origin: how much the prediction of each hour ahead was off, in logarithms."""
    made = {}
    for origin in _origins(len(logs)):
        ahead = min(WEEK, len(logs) - origin)
        made[origin] = logs[origin : origin + ahead] - forward(logs[:origin], ahead)
    return made


def _quantiles(past: Sequence[Array], horizon: int) -> Array:
    """For each hour ahead the quantiles of the errors. Stretches without errors get the quantiles of the stretch
    before, widened."""
    rows: list[Array] = []
    last = np.asarray([0.5 * (2 * level - 1) for level in LEVELS])  # nothing is known: half to double
    begin = 0
    for end in _STRETCHES:
        known = [errors[begin:end] for errors in past if len(errors) > begin]
        pool = np.concatenate(known) if known else np.empty(0)
        if len(pool) >= len(LEVELS):
            middle = float(np.median(pool)) / 2  # half of the bias: a few origins do not prove more
            last = middle + _SPREAD * (np.quantile(pool, LEVELS) - float(np.median(pool)))
        elif begin:
            last = last * math.sqrt(end / begin)
        rows.extend([last] * (end - begin))
        begin = end
    rows.extend([last] * max(0, horizon - len(rows)))
    return np.asarray(rows[:horizon])


def _score(logs: Array, floor: float, past: dict[int, Array]) -> tuple[float | None, float | None]:
    """The mean absolute error of a forecast for one day, and the error of repeating the same hours of the week
    before."""
    values = np.exp(logs) - floor
    made, naive = [], []
    for origin, errors in past.items():
        day = slice(origin, origin + DAY)
        made.append(float(np.abs(np.exp(logs[day] - errors[:DAY]) - floor - values[day]).mean()))
        if origin >= WEEK:
            naive.append(float(np.abs(values[origin - WEEK : origin - WEEK + DAY] - values[day]).mean()))
    return _mean(made), _mean(naive)


def _mean(errors: list[float]) -> float | None:
    return sum(errors) / len(errors) if errors else None
