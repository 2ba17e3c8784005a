"""A prediction: the quantiles of the demand for each coming hour. And the messages to the worker and back."""

from __future__ import annotations

from bisect import bisect_right
from typing import Final

from msgspec import Struct

LEVELS: Final = (0.025, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.975)
"""The probabilities that the demand stays below each of the quantiles."""

HOUR_S: Final = 3600


class Series(Struct, frozen=True, kw_only=True):
    """An hourly series, without gaps. `start` is the Unix time of the first hour, in seconds."""

    start: int
    values: list[float]


class Prediction(Struct, frozen=True, kw_only=True):
    """`quantiles` has one list for each hour from `start` on, with a value for each of `LEVELS`, ascending.

    `error` is the mean absolute error of a forecast for one day, in the unit of the series, found by predicting the
    last weeks from what was known then; `naive_error` is the error of repeating the same hour of the week before (None
    before a third week).
    """

    start: int
    quantiles: list[list[float]]
    error: float | None = None
    naive_error: float | None = None

    def at(self, hour: int, level: float) -> float:
        """The value below which the demand of the `hour`-th coming hour stays with probability `level`."""
        return quantile(self.quantiles[hour], level)

    def chance_above(self, hour: int, value: float) -> float:
        """The probability that the demand of the `hour`-th coming hour is above `value`."""
        return chance_above(self.quantiles[hour], value)


class Task(Struct, frozen=True, kw_only=True):
    """What the worker gets: the series by name, and how many hours to predict."""

    series: dict[str, Series]
    horizon: int


class Answer(Struct, frozen=True, kw_only=True):
    """The worker's answer: a prediction for each series that is long enough, and the problem of each other one."""

    predictions: dict[str, Prediction]
    problems: dict[str, str] = {}


def quantile(values: list[float], level: float) -> float:
    """Interpolates linearly between the known levels; outside of them the outermost value counts."""
    if level <= LEVELS[0]:
        return values[0]
    if level >= LEVELS[-1]:
        return values[-1]
    right = bisect_right(LEVELS, level)
    low, high = LEVELS[right - 1], LEVELS[right]
    return values[right - 1] + (values[right] - values[right - 1]) * (level - low) / (high - low)


def chance_above(values: list[float], value: float) -> float:
    """1 below the lowest quantile and 0 from the highest on: nothing is claimed about the tails beyond them."""
    if value < values[0]:
        return 1.0
    if value >= values[-1]:
        return 0.0
    right = bisect_right(values, value)
    low, high = values[right - 1], values[right]
    share = (value - low) / (high - low) if high > low else 0.0
    return 1 - (LEVELS[right - 1] + share * (LEVELS[right] - LEVELS[right - 1]))
