"""Clients that publish over their own sockets, on schedule and in turn: open loop, without waiting for answers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from perf.load.dialects import Dialect
from perf.load.pacing import Pacer
from perf.load.payload import payload
from perf.load.plan import ClientPublishing
from perf.load.tally import Tally
from perf.load.wire_client import WireClient

MAX_BURST = 64
"""The most publications in one turn of the loop; incoming data is read in between."""

MAX_LATENESS_SAMPLES = 200_000


class ClientPublisher:
    """`clients` take turns. `tally` says what was published: `progress.published`, `publish_lateness_s`."""

    def __init__(
        self, publishing: ClientPublishing, dialect: Dialect, clients: Sequence[WireClient], tally: Tally
    ) -> None:
        self._publishing = publishing
        self._dialect = dialect
        self._clients = clients
        self._tally = tally
        self._pacer = Pacer(publishing.schedule)
        self._start = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, start: float) -> None:
        self._start = start
        if self._clients:
            self._tick()

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _tick(self) -> None:
        now = time.monotonic()
        for number, due in self._pacer.take(now - self._start, MAX_BURST):
            self._publish(number, self._start + due, now)
        upcoming = self._pacer.next_due
        if upcoming is not None:
            wait = max(0.0, self._start + upcoming - time.monotonic())
            self._timer = asyncio.get_running_loop().call_later(wait, self._tick)

    def _publish(self, number: int, due: float, now: float) -> None:
        schedule = self._publishing.schedule
        client = self._clients[number // schedule.step % len(self._clients)]
        channel = self._publishing.channel or self._dialect.channel_of(client.index)
        data = payload(self._publishing.size, number, int(due * 1e9))
        client.send(self._dialect.publication(channel, data))
        self._tally.progress.published += 1
        if len(self._tally.publish_lateness_s) < MAX_LATENESS_SAMPLES:
            self._tally.publish_lateness_s.append(now - due)
