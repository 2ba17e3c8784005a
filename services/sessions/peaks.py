"""How a channel came to its peaks, so that they are right also when somebody turns out to have left earlier. Pure.

Ends may be told late. Those of an edge that was killed are, by 5 s and more: meanwhile its clients are back on other
edges, and counted twice. So a channel keeps its latest `Steps`: the moments at which a peak rose, and to how many.

Who left at `t` was not there at the steps after `t`. Each of these is one lower; one that is then no higher than the
step before it is none. That is exact: what is no step is no higher than a step before it, and if both are after `t`, it
stays so. For somebody who came at `t`, and is told late, the steps after it are one higher; what grows higher than they
in between is not known.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import Final, NamedTuple

from services.sessions.rows import HOUR_MS, Step, Steps

LATE_MS: Final = 10 * 60_000
"""How long before the latest step somebody may have left for the steps to be corrected; less than an hour. Edges are
lost within 10 s; the service that says so may have been away."""

MAX_STEPS: Final = 32
"""Of an hour. Of more, each other one is forgotten: who leaves between two of those that are left was counted with
those of the first alone."""


class Hour(NamedTuple):
    """Of a channel: how many there were at the first step in it, and the most."""

    at: int
    first: int
    peak: int


def hour_of(at: int) -> int:
    """When the hour of this moment began."""
    return at - at % HOUR_MS


def extended(steps: Steps, at: int, now: int) -> Steps:
    """With one more step, the latest: there are more than ever in its hour, or it is the beginning of one."""
    highest, *others = steps
    while len(others) > 1 and others[1][0] <= at - LATE_MS:
        highest = _higher(highest, others.pop(0))
    hour = hour_of(at)
    first = next((place for place, step in enumerate(others) if step[0] >= hour), len(others))
    if len(others) - first >= MAX_STEPS:
        del others[first + 1 : -1 : 2]
    return (highest, *others, (at, now))


def corrected(steps: Steps, at: int, difference: int) -> Steps:
    """So many more, or fewer, were there from `at` on than was known."""
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
