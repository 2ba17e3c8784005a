"""Least squares with nonnegative coefficients and a prior: a small fit, of a few numbers each minute.

SciPy has the same without the prior, but the service must work without SciPy (it is an extra of 270 MB), and five
coefficients need no library.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

_WIDTH: Final = 3.0  # the prior's standard deviation, as a multiple of the prior: machines differ by about this factor
_SWEEPS: Final = 400
_SMALL: Final = 1e-9


class Fit(NamedTuple):
    """`quality` is R², from 0 (no better than the mean, or nothing varied) to 1; `error` the root mean square error."""

    coefficients: tuple[float, ...]
    quality: float
    error: float


def fit(
    rows: Sequence[Sequence[float]],
    targets: Sequence[float],
    weights: Sequence[float],
    prior: Sequence[float],
    noise: float,
) -> Fit:
    """The coefficients b >= 0 that minimize sum(w (y - x.b)^2) + sum(noise^2 ((b - prior) / 3 prior)^2).

    The second term says that without measurements b is the prior, but may well be a few times as large; `noise` is the
    standard deviation of one target. Solved by coordinate descent: the problem is convex, and each step is exact.
    """
    size = len(prior)
    gram = [[0.0] * size for _ in range(size)]
    moment = [0.0] * size
    for row, target, weight in zip(rows, targets, weights, strict=True):
        for i in range(size):
            moment[i] += weight * row[i] * target
            for j in range(size):
                gram[i][j] += weight * row[i] * row[j]
    for i in range(size):
        pull = (noise / (_WIDTH * prior[i])) ** 2
        gram[i][i] += pull
        moment[i] += pull * prior[i]
    found = list(prior)
    for _ in range(_SWEEPS):
        moved = 0.0
        for i in range(size):
            rest = moment[i] - sum(gram[i][j] * found[j] for j in range(size) if j != i)
            value = max(0.0, rest / gram[i][i])
            moved = max(moved, abs(value - found[i]) / prior[i])
            found[i] = value
        if moved < _SMALL:
            break
    return Fit(tuple(found), *_quality(rows, targets, weights, found))


def predict(coefficients: Sequence[float], row: Sequence[float]) -> float:
    """The value of the law at `row`."""
    return sum(coefficient * value for coefficient, value in zip(coefficients, row, strict=True))


def _quality(
    rows: Sequence[Sequence[float]], targets: Sequence[float], weights: Sequence[float], found: Sequence[float]
) -> tuple[float, float]:
    total = sum(weights)
    if not total:
        return 0.0, 0.0
    mean = sum(w * y for w, y in zip(weights, targets, strict=True)) / total
    varied = sum(w * (y - mean) ** 2 for w, y in zip(weights, targets, strict=True))
    left = sum(w * (y - predict(found, row)) ** 2 for row, y, w in zip(rows, targets, weights, strict=True))
    error = float((left / total) ** 0.5)
    return (max(0.0, 1 - left / varied) if varied > 0 else 0.0), error
