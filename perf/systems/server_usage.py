"""What the servers of a trial use: the CPU for a piece of work, without idle work, and the memory for each
connection."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from deploy.processes.process_tree import ProcessTree
from perf.report.comparison import Trial

QUIET_SHARE = 0.1
QUIET_SAMPLE_S = 0.4
QUIET_WITHIN_S = 10.0
"""Between two measurements a system may finish its work, for at most this time: until it uses less than `QUIET_SHARE`
of a core."""


class ServerUsage:
    """`tree` is None for a system whose processes cannot be seen: then nothing is measured."""

    def __init__(self, tree: ProcessTree | None) -> None:
        self._tree = tree
        self._idle_share = 0.0  # CPU seconds a second, without clients
        self._idle_pss_bytes = 0

    async def measure_idle(self, trial: Trial, seconds: float) -> None:
        """The baseline, without clients."""
        if self._tree is None:
            return
        before, began = self._tree.cpu_s(), time.monotonic()
        await asyncio.sleep(seconds)
        self._idle_share = (self._tree.cpu_s() - before) / (time.monotonic() - began)
        self._idle_pss_bytes = self._tree.pss_bytes()
        trial.idle_cpu_share, trial.idle_pss_bytes = round(self._idle_share, 4), self._idle_pss_bytes

    def cpu(self) -> Callable[[], float | None]:
        """Starts to count. The function that is returned gives the CPU seconds so far, without idle work."""
        tree = self._tree
        if tree is None:
            return lambda: None
        before, began = tree.cpu_s(), time.monotonic()
        return lambda: max(0.0, tree.cpu_s() - before - self._idle_share * (time.monotonic() - began))

    def connections(self, trial: Trial) -> Callable[[int], None]:
        """Starts to count. The function that is returned takes the number of connections that were made meanwhile."""
        tree = self._tree
        if tree is None:
            return lambda connected: None
        before = tree.cpu_s_by_program()

        def finish(connected: int) -> None:
            connected, after = max(1, connected), tree.cpu_s_by_program()
            trial.connection_pss_bytes = (tree.pss_bytes() - self._idle_pss_bytes) / connected
            trial.connection_cpu_ms = {n: round((after[n] - before[n]) * 1000 / connected, 3) for n in after}

        return finish

    async def quiet(self) -> None:
        """Waits until the servers have nothing left to do, for a limited time."""
        until = time.monotonic() + QUIET_WITHIN_S
        while self._tree is not None and time.monotonic() < until:
            before = self._tree.cpu_s()
            await asyncio.sleep(QUIET_SAMPLE_S)
            if self._tree.cpu_s() - before <= (QUIET_SHARE + self._idle_share) * QUIET_SAMPLE_S:
                return

    async def stop(self) -> float | None:
        """Stops the servers; seconds until the last one had ended, None if one did not."""
        return None if self._tree is None else await asyncio.to_thread(self._tree.stop)
