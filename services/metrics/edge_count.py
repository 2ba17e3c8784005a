"""How many edges to run: scales out at once, scales in late and by one edge at a time, never while an edge drains.
Pure.

An edge too many costs a process; too few edges cost clients. So the edges that are needed now or within `lead_s` count
at once. Fewer are recommended only after fewer would have sufficed, with a margin, without a break for
`scale_in_after_s`, both for the load at that time and for the forecast of the same time ahead. A drain moves its
clients to the other edges: the next scale-in waits for the end of the drain, and the wait begins anew, so that the
figures after the drain are seen first.
"""

from __future__ import annotations

from collections.abc import Callable
from math import ceil
from typing import Final, NamedTuple

_MARGIN: Final = 0.1
"""Fewer edges must suffice for this much more load, so that a small rise does not reverse the recommendation at
once."""

_ALMOST: Final = 1e-6


class CountSettings(NamedTuple):
    """Bounds and times. `spare` edges are added to what the load needs: that many may be lost without harm."""

    least: int = 1
    most: int = 100
    spare: int = 1
    lead_s: float = 600.0
    scale_in_after_s: float = 1800.0


class Situation(NamedTuple):
    """What is known at one moment. `needed` edges carry the current load; `ahead` returns how many the forecast needs
    until a moment (Unix time), 0 without a forecast. `serving` edges take clients, `draining` ones are leaving."""

    needed: float
    serving: int
    draining: int
    ahead: Callable[[float], float]


class EdgeCount:
    """Recommends a number of edges. Times are Unix time, in seconds."""

    def __init__(self, settings: CountSettings) -> None:
        self._settings = settings
        self._fewer_since: float | None = None
        self._recommended: int | None = None

    @property
    def recommended(self) -> int | None:
        """The last recommendation, None before the first."""
        return self._recommended

    def decide(self, now: float, situation: Situation) -> int:
        """The recommendation at `now`. Call it once a minute, or more often."""
        settings = self._settings
        wanted = self.bounded(max(situation.needed, situation.ahead(now + settings.lead_s)))
        if self._recommended is None:  # a new instance of this service does not scale in at once
            self._recommended = max(wanted, min(situation.serving, settings.most))
        if wanted >= self._recommended:
            self._recommended = wanted
            self._fewer_since = None
            return wanted
        horizon = max(settings.lead_s, settings.scale_in_after_s)
        enough = self.bounded(max(situation.needed, situation.ahead(now + horizon)) * (1 + _MARGIN))
        if enough >= self._recommended or situation.draining:
            self._fewer_since = None
        elif self._fewer_since is None:
            self._fewer_since = now
        elif now - self._fewer_since >= settings.scale_in_after_s:
            self._recommended -= 1
            self._fewer_since = now
        return self._recommended

    def bounded(self, needed: float) -> int:
        """`needed` as a whole number of edges, with the spare edges added, within the bounds."""
        settings = self._settings
        return min(max(ceil(needed - _ALMOST) + settings.spare, settings.least), settings.most)
