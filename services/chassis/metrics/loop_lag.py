"""How late the event loop is: a timer that should fire every 50 ms measures it, whatever holds the loop up.

A process that is frozen for three seconds shows three seconds, at its next tick. (The timer of the heartbeat, once a
second, saw only what happened to be in progress when it fired.)
"""

from __future__ import annotations

import asyncio
from typing import Final

from services.chassis.metrics.histogram import Histogram
from services.chassis.metrics.series import FAST_S

INTERVAL_S: Final = 0.05

SLOT_S: Final = 30.0
"""The largest lateness of a slot is kept until the next slot has ended too: for 30 to 60 s, however often it is read.
If reading reset it, a scrape that times out, as scrapes during a freeze do, would lose it."""


class LoopLag:
    """Measures from `start` on. `recent` has the maximum of the last 30 to 60 s, `peak` the maximum since its last
    call."""

    def __init__(self) -> None:
        self.histogram = Histogram(FAST_S)
        self._peak = 0.0
        self._this_slot = 0.0
        self._last_slot = 0.0
        self._slot_ends = 0.0
        self._due = 0.0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begins to measure the running event loop. Call it once."""
        self._loop = asyncio.get_running_loop()
        self._await_next(self._loop)

    def stop(self) -> None:
        """Stops measuring."""
        if self._timer is not None:
            self._timer.cancel()
        self._loop = None

    def recent(self) -> float:
        """The most that the loop was late, in seconds, within the last 30 to 60 s. A lag in progress counts."""
        return max(self._last_slot, self._this_slot, self._in_progress())

    def peak(self) -> float:
        """The most that the loop was late, in seconds, since the last call: for one reader only. A lag in progress
        counts."""
        peak, self._peak = max(self._peak, self._in_progress()), 0.0
        return peak

    def observe(self, late_s: float, now: float) -> None:
        """Counts one tick that came `late_s` after it was due, at the loop's time `now`."""
        self.histogram.observe(late_s)
        if now >= self._slot_ends:
            self._last_slot = self._this_slot if now < self._slot_ends + SLOT_S else 0.0
            self._this_slot, self._slot_ends = 0.0, now + SLOT_S
        if late_s > self._this_slot:
            self._this_slot = late_s
        if late_s > self._peak:
            self._peak = late_s

    def _in_progress(self) -> float:
        return 0.0 if self._loop is None else max(0.0, self._loop.time() - self._due)

    def _await_next(self, loop: asyncio.AbstractEventLoop) -> None:
        self._due = loop.time() + INTERVAL_S
        self._timer = loop.call_at(self._due, self._tick, loop)

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        self.observe(max(0.0, now - self._due), now)
        self._await_next(loop)
