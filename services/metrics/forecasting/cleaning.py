"""What a pattern must not be learned from: gaps, outages, holidays. Pure, on plain lists.

An hour counts as disturbed if it lies far from what its hour of the week and the level around it suggest. A running
median over two days gives the level, so what lasts for a day or less is a disturbance, and a step that stays is not.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Final

DAY: Final = 24
WEEK: Final = 168
_AROUND: Final = 24  # hours to each side of the running median
_FAR: Final = 6.0  # median absolute deviations
_LEAST: Final = 0.08  # of the logarithm: deviations below 8 % are never disturbances


def filled(values: Sequence[float | None]) -> list[float]:
    """The series with gaps (None) filled from the same hour of the week before or after, else of the day, else from the
    last known value. At least one value must be known."""
    known = list(values)
    for index, value in enumerate(values):
        if value is None:
            known[index] = _neighbour(values, index)
    first = next(value for value in known if value is not None)
    result: list[float] = []
    for value in known:
        result.append(value if value is not None else (result[-1] if result else first))
    return result


def _neighbour(values: Sequence[float | None], index: int) -> float | None:
    for period in (WEEK, DAY):
        for step in (-1, 1, -2, 2, -3, 3):
            other = index + step * period
            if 0 <= other < len(values) and values[other] is not None:
                return values[other]
    return None


def running_median(values: Sequence[float], around: int = _AROUND) -> list[float]:
    """The median of each value and `around` ones to each side, fewer at the ends."""
    return [median(values[max(0, i - around) : i + around + 1]) for i in range(len(values))]


def pattern(values: Sequence[float]) -> list[float]:
    """What each hour of the week usually differs by from its week; of weeks that end with the last value."""
    first = len(values) % WEEK
    weeks = [values[begin : begin + WEEK] for begin in range(first, len(values), WEEK)]
    levels = [median(week) for week in weeks]
    return [median(week[hour] - level for week, level in zip(weeks, levels, strict=True)) for hour in range(WEEK)]


def cleaned(values: Sequence[float]) -> list[float]:
    """`values`, which are logarithms, with disturbed hours replaced by what their hour of the week and the level
    around them suggest. Less than two weeks cannot tell, and stay as they are."""
    if len(values) < 2 * WEEK:
        return list(values)
    usual, first = pattern(values), len(values) % WEEK
    plain = [value - usual[(index - first) % WEEK] for index, value in enumerate(values)]
    level = running_median(plain)
    rest = [value - base for value, base in zip(plain, level, strict=True)]
    spread = max(_LEAST, _FAR * median(abs(one) for one in rest))
    return [value if abs(one) <= spread else value - one for value, one in zip(values, rest, strict=True)]
