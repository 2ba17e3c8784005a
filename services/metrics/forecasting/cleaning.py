"""Removes what a pattern must not be learned from: gaps, outages, holidays. Pure, on plain lists.

An hour counts as disturbed if its value is far from what its hour of the week and the level around it suggest. A
running median over two days gives the level, so what lasts for a day or less is a disturbance, and a step that stays is
not.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean, median
from typing import Final

DAY: Final = 24
WEEK: Final = 168
_AROUND: Final = 24  # hours to each side of the running median
_FAR: Final = 6.0  # median absolute deviations
_BESIDE: Final = 12
_LONG: Final = 3  # hours
_STEP: Final = 0.15  # in logarithms: smaller changes of level are left to the smoothing
_LEAST: Final = 0.08  # in logarithms: deviations below 8 % are never disturbances


def filled(values: Sequence[float | None]) -> list[float]:
    """The series with gaps (None) filled from the same hour of a week before or after, else of a day, else from the
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
    """For each value the median of it and `around` values on each side, fewer at the ends."""
    return [median(values[max(0, i - around) : i + around + 1]) for i in range(len(values))]


def pattern(values: Sequence[float]) -> list[float]:
    """By how much each hour of the week usually differs from its week's level. Weeks are counted back from the last
    value."""
    first = len(values) % WEEK
    weeks = [values[begin : begin + WEEK] for begin in range(first, len(values), WEEK)]
    levels = [median(week) for week in weeks]
    return [median(week[hour] - level for week, level in zip(weeks, levels, strict=True)) for hour in range(WEEK)]


def cleaned(values: Sequence[float]) -> list[float]:
    """`values`, which are logarithms, with disturbed hours replaced by what their hour of the week and the level
    around them suggest. Less than two weeks do not show a pattern, and stay as they are."""
    if len(values) < 2 * WEEK:
        return list(values)
    rest = _disturbances(values)
    return [value - off for value, off in zip(values, rest, strict=True)]


def ordinary(values: Sequence[float]) -> list[float]:
    """`values`, which are logarithms, without unusual events: disturbances of some hours are removed (a single hour is
    a burst, which is usual), and values before a step are moved to the level after it. Less than two weeks stay as they
    are."""
    if len(values) < 2 * WEEK:
        return list(values)
    made = [value - off for value, off in zip(values, _long(_disturbances(values)), strict=True)]
    for at, size in steps(_plain(made)):
        made[:at] = [value + size for value in made[:at]]
    return made


def steps(plain: Sequence[float]) -> list[tuple[int, float]]:
    """Where the level changes for good, and by how much: compares the two days after (a day at least) with the two days
    before. The pattern is already removed from `plain`."""
    found: list[tuple[int, float]] = []
    change = [0.0] * len(plain)
    for at in range(_AROUND, len(plain) - _AROUND + 1):
        after, before = plain[at : at + 2 * _AROUND], plain[max(0, at - 2 * _AROUND) : at]
        change[at] = median(after) - median(before)
    least = max(_STEP, _FAR * median(abs(one) for one in change))
    while True:
        at = max(range(len(change)), key=lambda index: abs(change[index]))
        if abs(change[at]) < least:
            return found
        found.append((_edge_of(plain, at), change[at]))
        begin, end = max(0, at - 2 * _AROUND), min(len(change), at + 2 * _AROUND)
        change[begin:end] = [0.0] * (end - begin)


def _edge_of(plain: Sequence[float], near: int) -> int:
    """The hour of a step that the medians show around `near`: where the means of the half days on both sides differ
    most."""

    def contrast(at: int) -> float:
        return abs(fmean(plain[at : at + _BESIDE]) - fmean(plain[max(0, at - _BESIDE) : at]))

    return max(range(max(1, near - _AROUND), min(len(plain) - 1, near + _AROUND) + 1), key=contrast)


def _plain(values: Sequence[float]) -> list[float]:
    usual, first = pattern(values), len(values) % WEEK
    return [value - usual[(index - first) % WEEK] for index, value in enumerate(values)]


def _disturbances(values: Sequence[float]) -> list[float]:
    """By how much each hour is off; 0 for hours that are not disturbed."""
    plain = _plain(values)
    rest = [value - base for value, base in zip(plain, running_median(plain), strict=True)]
    spread = max(_LEAST, _FAR * median(abs(one) for one in rest))
    return [one if abs(one) > spread else 0.0 for one in rest]


def _long(rest: Sequence[float]) -> list[float]:
    """Only the disturbances that last `_LONG` hours or more."""
    made, begin = list(rest), 0
    for index in range(len(rest) + 1):
        if index == len(rest) or not rest[index]:
            if index - begin < _LONG:
                made[begin:index] = [0.0] * (index - begin)
            begin = index + 1
    return made
