"""Samples as percentiles, and percentiles for a reader; two series of samples as a ratio."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

import msgspec


class Distribution(msgspec.Struct, frozen=True):
    """Percentiles of samples, rounded to microseconds if they are seconds; all None if there are no samples."""

    p50: float | None
    p90: float | None
    p99: float | None
    max: float | None

    def in_ms(self) -> str:
        """For a reader: "p50 1.2  p90 3.4  p99 5.6  max 7.8", of seconds in milliseconds."""
        values = {"p50": self.p50, "p90": self.p90, "p99": self.p99, "max": self.max}
        return "  ".join(f"{name} {'-' if value is None else f'{value * 1000:.1f}'}" for name, value in values.items())


def distribution(samples: Sequence[float]) -> Distribution:
    ordered = sorted(samples)
    if not ordered:
        return Distribution(None, None, None, None)
    p50, p90, p99 = (round(percentile(ordered, percent), 6) for percent in (50, 90, 99))
    return Distribution(p50, p90, p99, round(ordered[-1], 6))


def percentile(ordered: Sequence[float], percent: float) -> float:
    """By nearest rank: a measured value, never one between two. `ordered` is ascending and not empty."""
    return ordered[max(0, math.ceil(percent / 100 * len(ordered)) - 1)]


def median_ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """The median of the ratios of two series that were measured in turn, round by round."""
    return round(statistics.median(one / max(other, 1e-9) for one, other in zip(ours, theirs, strict=True)), 3)
