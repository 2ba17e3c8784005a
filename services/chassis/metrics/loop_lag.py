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


class LoopLag:
    """Measures from `start` on. `peak` has the maximum since its reader asked last, each reader by itself."""

    def __init__(self) -> None:
        self.histogram = Histogram(FAST_S)
        self._peaks: dict[str, float] = {}
        self._due = 0.0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begins to measure the running event loop. Call it once."""
        self._loop = asyncio.get_running_loop()
        self._await_next(self._loop)

    def stop(self) -> None:
        """Measures no more."""
        if self._timer is not None:
            self._timer.cancel()
        self._loop = None

    def peak(self, reader: str) -> float:
        """The most that the loop was late, in seconds, since this reader asked last. A lag in progress counts."""
        late = 0.0 if self._loop is None else max(0.0, self._loop.time() - self._due)
        peak = max(self._peaks.get(reader, 0.0), late)
        self._peaks[reader] = 0.0
        return peak

    def observe(self, late_s: float) -> None:
        """Counts one tick that came `late_s` after it was due."""
        self.histogram.observe(late_s)
        for reader, peak in self._peaks.items():
            if late_s > peak:
                self._peaks[reader] = late_s

    def _await_next(self, loop: asyncio.AbstractEventLoop) -> None:
        self._due = loop.time() + INTERVAL_S
        self._timer = loop.call_at(self._due, self._tick, loop)

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        self.observe(max(0.0, loop.time() - self._due))
        self._await_next(loop)
