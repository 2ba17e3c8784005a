"""The connections of one process, from dialling to the closed socket: one task for each dial, one timer for all."""

from __future__ import annotations

import asyncio
import contextlib
import time

from perf.load import failures
from perf.load.plan import Plan
from perf.load.wire_client import WireClient

SWEEP_INTERVAL_S = 0.05
"""Resolution of timeouts, and of the samples of the loop's lateness."""

MAX_LAG_SAMPLES = 100_000
"""Enough for over an hour of sweeps."""

CLOSES_AT_ONCE = 250


class Connections:
    """Knows which clients are opening and which are open.

    `loop_lag_s` is how late the sweep's timer fired each time.
    """

    def __init__(self, plan: Plan, loop_lag_s: list[float]) -> None:
        self._plan = plan
        self._loop_lag_s = loop_lag_s
        self._loop = asyncio.get_running_loop()
        self._opening: dict[WireClient, asyncio.Task[None]] = {}  # oldest first: the sweep stops at a recent one
        self._open: dict[WireClient, None] = {}  # established ones whose socket is not closed yet, oldest first
        self._emptied = asyncio.Event()
        self._sweeping: asyncio.TimerHandle | None = None

    @property
    def open(self) -> list[WireClient]:
        return list(self._open)

    def watch(self) -> None:
        """Gives up clients that take longer than the plan's timeout, from now on."""
        self._sweeping = self._loop.call_later(SWEEP_INTERVAL_S, self._sweep, time.monotonic() + SWEEP_INTERVAL_S)

    def dial(self, client: WireClient, port: int) -> None:
        """Connects the client. The task ends with the TCP connect: asyncio has no other public way to make one."""
        self._opening[client] = self._loop.create_task(self._dial(client, port))

    def established(self, client: WireClient) -> None:
        del self._opening[client]
        self._open[client] = None
        self._emptied.clear()

    def failed(self, client: WireClient) -> None:
        self._opening.pop(client, None)

    def closed(self, client: WireClient) -> None:
        """Notes that the client's socket is closed."""
        self._open.pop(client, None)
        if not self._open:
            self._emptied.set()

    async def close(self, within_s: float) -> int:
        """Gives up what is opening, and closes what is open; returns how many close frames were not answered."""
        for client in list(self._opening):
            self._give_up(client, "local: the run ended first")
        for number, client in enumerate(self.open):
            client.leave()
            if number % CLOSES_AT_ONCE == 0:
                await asyncio.sleep(0)  # lets answers be read in between
        if self._open:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._emptied.wait(), within_s)
        unanswered = self.open
        for client in unanswered:
            client.fail("local: the close frame was not answered")
        if self._sweeping is not None:
            self._sweeping.cancel()
        return len(unanswered)

    async def _dial(self, client: WireClient, port: int) -> None:
        source = self._plan.source_address(client.index)
        try:
            await self._loop.create_connection(lambda: client, self._plan.host, port, local_addr=source)
        except OSError as error:
            client.fail(failures.of_os_error(error, "tcp"))

    def _sweep(self, due: float) -> None:
        now = time.monotonic()
        if len(self._loop_lag_s) < MAX_LAG_SAMPLES:
            self._loop_lag_s.append(max(0.0, now - due))
        for client in self._overdue(now):
            self._give_up(client, failures.of_timeout(client.waits_for))
        self._sweeping = self._loop.call_later(SWEEP_INTERVAL_S, self._sweep, now + SWEEP_INTERVAL_S)

    def _overdue(self, now: float) -> list[WireClient]:
        overdue = []
        for client in self._opening:
            if now - client.started < self._plan.connect_timeout_s:
                break
            overdue.append(client)
        return overdue

    def _give_up(self, client: WireClient, cause: str) -> None:
        dialling = self._opening[client]
        client.fail(cause)
        dialling.cancel()
