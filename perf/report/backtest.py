"""How good forecasts were: error, coverage of their intervals, and whether "it runs out with this chance" holds."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from services.metrics.forecasting.prediction import LEVELS, quantile

DAY = 24
CAPACITIES = (0.95, 1.05, 1.15, 1.3)
"""The question is whether the coming week exceeds this multiple of the highest hour of the last week."""


class Score(msgspec.Struct):
    """Means over all forecasts of a kind. Errors, widths and `loss` (pinball, over all quantiles: lower is better, and
    narrow intervals are rewarded if they are right) are shares of the mean of what came."""

    error_day: float  # mean absolute error of hours 1 to 24
    error_week: float  # of hours 25 to 168
    covered_80: float
    covered_95: float
    width_80: float
    loss: float
    chance: float  # mean chance that was given to exceed CAPACITIES
    exceeded: float  # how often they were exceeded
    brier: float  # mean squared error of those chances; 0.25 is what "one half" gets


def score(quantiles: Sequence[list[float]], true: Sequence[float], chances: Sequence[tuple[float, bool]]) -> Score:
    """`chances` has the predicted chance and what happened, for each of `CAPACITIES`."""
    mean = sum(true) / len(true)
    off = [abs(quantile(hour, 0.5) - one) / mean for hour, one in zip(quantiles, true, strict=True)]
    losses = [
        max(level * (one - value), (level - 1) * (one - value)) / mean
        for hour, one in zip(quantiles, true, strict=True)
        for level, value in zip(LEVELS, hour, strict=True)
    ]
    return Score(
        error_day=_mean(off[:DAY]),
        error_week=_mean(off[DAY:]),
        covered_80=_covered(quantiles, true, 0.1, 0.9),
        covered_95=_covered(quantiles, true, 0.025, 0.975),
        width_80=_mean([quantile(hour, 0.9) - quantile(hour, 0.1) for hour in quantiles]) / mean,
        loss=_mean(losses),
        chance=_mean([chance for chance, _ in chances]),
        exceeded=_mean([float(happened) for _, happened in chances]),
        brier=_mean([(chance - happened) ** 2 for chance, happened in chances]),
    )


def mean(scores: Sequence[Score]) -> Score:
    """The mean of each figure, rounded."""
    fields = [field.name for field in msgspec.structs.fields(Score)]
    return Score(**{name: round(_mean([getattr(one, name) for one in scores]), 4) for name in fields})


def _covered(quantiles: Sequence[list[float]], true: Sequence[float], low: float, high: float) -> float:
    inside = [quantile(hour, low) <= one <= quantile(hour, high) for hour, one in zip(quantiles, true, strict=True)]
    return _mean([float(one) for one in inside])


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
