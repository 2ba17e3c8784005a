"""What each level of load costs: the memory of the capacity model.

A plain window of minutes would forget in a quiet night what the busy day has shown. Minutes of similar load are
therefore averaged into one level, and each level counts on its own, however long it lasted. Within a level newer
minutes replace older ones; a level that was not seen for `FORGET_S` is forgotten, as releases and clients change.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import log2
from typing import Final, NamedTuple

from services.metrics.minutes import Minute

MAX_LEVELS: Final = 512
"""Beyond this number the level seen longest ago is forgotten."""
FORGET_S: Final = 14 * 86400
_FULL: Final = 30  # minutes after which a level's average follows the newest minutes
_WHOLE_MINUTE_S: Final = 45  # an edge that was heard for less has just started or is ending
_STEPS: Final = 2.0  # levels for each doubling of the load

AVERAGED: Final = (
    "connections",
    "channels",
    "subscriptions",
    "accepted",
    "messages_in",
    "messages_out",
    "publishes",
    "bytes_out",
    "cpu",
    "memory_bytes",
    "open_fds",
    "loop_lag_s",
)


class Level(NamedTuple):
    """The average of `minutes` minutes of similar load, the last one at `seen` (Unix time, seconds)."""

    seen: int
    minutes: int
    mean: Minute

    @property
    def weight(self) -> float:
        """How much the level counts in a fit: an average of more minutes is better, up to a limit."""
        return min(self.minutes, _FULL)


class Levels:
    """All levels of load at which edges were seen."""

    def __init__(self) -> None:
        self._levels: dict[tuple[int, ...], Level] = {}  # the one seen longest ago first

    def __len__(self) -> int:
        return len(self._levels)

    def __iter__(self) -> Iterator[Level]:
        return iter(self._levels.values())

    def add(self, minute: Minute) -> None:
        """Adds one minute of one edge. A minute of a drain or a start is skipped, as it does not show what a load
        costs."""
        if minute.draining or minute.seconds < _WHOLE_MINUTE_S:
            return
        key = tuple(
            round(log2(1 + value) * _STEPS)
            for value in (minute.connections, minute.accepted, minute.messages_in, minute.messages_out)
        )
        known = self._levels.pop(key, None)
        if known is None:
            level = Level(minute.minute, 1, minute)
        else:
            share = 1 / min(known.minutes + 1, _FULL)
            moved = {
                name: getattr(known.mean, name) + share * (getattr(minute, name) - getattr(known.mean, name))
                for name in AVERAGED
            }
            level = Level(minute.minute, known.minutes + 1, known.mean._replace(minute=minute.minute, **moved))
        self._levels[key] = level
        oldest = next(iter(self._levels))
        while len(self._levels) > MAX_LEVELS or minute.minute - self._levels[oldest].seen > FORGET_S:
            del self._levels[oldest]
            oldest = next(iter(self._levels))
