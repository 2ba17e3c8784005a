"""How a channel came to its peaks, so that they can be corrected when somebody turns out to have left earlier. Pure.

Ends may come late. Those of a killed edge come 5 s late or more: meanwhile its clients are back on other edges, and
count twice. So a channel keeps its latest `Steps`: the moments at which a peak rose, and to how many.

A connection that left at `t` was not there at the steps after `t`. Each of these steps is one lower, and is dropped if
it is then no higher than the step before it. That is exact: a moment that is not a step is no higher than a step before
it, and if both are after `t`, this stays true. If a connection came at `t`, and the log says so late, the steps after
`t` are one higher; a moment in between that now exceeds them is not known.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import Final, NamedTuple

from services.sessions.rows import HOUR_MS, Step, Steps

LATE_MS: Final = 10 * 60_000
"""Ends up to this long before the latest step correct the steps; less than an hour. A loss of an edge is noticed within
10 s, unless the service that notices it was away."""

MAX_STEPS: Final = 32
"""Steps of an hour. If there are more, every other step is forgotten: a late end between two remaining steps then
corrects as if there were none in between."""


class Hour(NamedTuple):
    """An hour of a channel: how many subscribers there were at its first step, and at most."""

    at: int
    first: int
    peak: int


def hour_of(at: int) -> int:
    """When the hour of this moment began."""
    return at - at % HOUR_MS


def extended(steps: Steps, at: int, now: int) -> Steps:
    """The steps with one more, the latest: there are more subscribers than before in this hour, or an hour begins."""
    highest, *others = steps
    while len(others) > 1 and others[1][0] <= at - LATE_MS:
        highest = _higher(highest, others.pop(0))
    hour = hour_of(at)
    first = next((place for place, step in enumerate(others) if step[0] >= hour), len(others))
    if len(others) - first >= MAX_STEPS:
        del others[first + 1 : -1 : 2]
    return (highest, *others, (at, now))


def corrected(steps: Steps, at: int, difference: int) -> Steps:
    """The steps, if from `at` on there were `difference` more subscribers than was known, or fewer."""
    kept = [steps[0]]
    for when, level in steps[1:]:
        step = when, level + difference if when > at else level
        before = kept[-1]
        if len(kept) == 1 or step[1] > before[1] or before[0] < hour_of(when):
            kept.append(step)
    return tuple(kept)


def highest(steps: Steps) -> Step:
    """The first of the highest steps."""
    return max(steps, key=_level)


def hours(steps: Steps) -> Iterator[Hour]:
    """The hours in which there are steps."""
    for at, of_hour in groupby(steps[1:], lambda step: hour_of(step[0])):
        levels = [level for _, level in of_hour]
        yield Hour(at, levels[0], max(levels))


def _level(step: Step) -> int:
    return step[1]


def _higher(one: Step, other: Step) -> Step:
    return other if other[1] > one[1] else one
