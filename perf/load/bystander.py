"""One honest client beside an attack: ping round trips on its connection, and new connects."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Sequence

import websockets

from perf.load.json_client import connected
from perf.report.core_wait import core_wait_s

PING_EVERY_S = 0.01
CONNECT_EVERY_S = 0.1
CONNECT_WITHIN_S = 1.0
"""How long an application waits for a new connect: after this time the connect counts as refused."""


class Bystander:
    """`ping_s` are round trips, `connect_s` times of connects; `refused` are connects that failed, by cause.

    `pids` are the processes that a ping passes. `own_ping_s` are the round trips without the time for which these
    processes had to wait for a core because of other processes of the machine.
    """

    def __init__(self, url: str, token: str, pids: Sequence[int] = ()) -> None:
        self._url = url
        self._token = token
        self._pids = pids
        self.ping_s: list[float] = []
        self.own_ping_s: list[float] = []
        self.connect_s: list[float] = []
        self.refused: Counter[str] = Counter()
        self.lost = False

    async def watch(self, seconds: float) -> None:
        """Sends one ping after the other on one connection, and connects at a fixed rate, however long connects
        take."""
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        async with connected(self._url, self._token) as client:
            connects = asyncio.create_task(self._connects(end))
            try:
                while loop.time() < end:
                    waited_s = self._waited_s()
                    took_s = await client.ping_s()
                    self.ping_s.append(took_s)
                    self.own_ping_s.append(max(0.0, took_s - (self._waited_s() - waited_s)))
                    await asyncio.sleep(PING_EVERY_S)
            except websockets.ConnectionClosed:
                self.lost = True
            await connects

    def _waited_s(self) -> float:
        return sum(map(core_wait_s, self._pids))

    async def _connects(self, end: float) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        async with asyncio.TaskGroup() as group:
            while due < end:
                group.create_task(self._connect())
                due += CONNECT_EVERY_S
                await asyncio.sleep(max(0.0, due - loop.time()))

    async def _connect(self) -> None:
        began = time.monotonic()
        took_s: float | None = None
        try:
            async with asyncio.timeout(CONNECT_WITHIN_S), connected(self._url, self._token):
                took_s = time.monotonic() - began
        except (OSError, AssertionError, websockets.WebSocketException) as error:  # TimeoutError is an OSError
            if took_s is None:
                self.refused[type(error).__name__] += 1
        if took_s is not None:
            self.connect_s.append(took_s)
