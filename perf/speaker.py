"""Clients that publish over their own sockets, on schedule: open loop, in turn, whether or not they were answered."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from perf.dialects import Dialect
from perf.pacing import Pacer
from perf.payload import payload
from perf.plan import Talk
from perf.tally import Tally
from perf.wire_client import WireClient

MAX_BURST = 64
"""Publications in one turn of the loop at most, what comes in is read in between."""

MAX_LATENESS_SAMPLES = 200_000


class Speaker:
    """`clients` take turns. What it did is in `tally`: `progress.spoken`, `speech_lateness_s`."""

    def __init__(self, talk: Talk, dialect: Dialect, clients: Sequence[WireClient], tally: Tally) -> None:
        self._talk = talk
        self._dialect = dialect
        self._clients = clients
        self._tally = tally
        self._pacer = Pacer(talk.schedule)
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
            self._say(number, self._start + due, now)
        upcoming = self._pacer.next_due
        if upcoming is not None:
            wait = max(0.0, self._start + upcoming - time.monotonic())
            self._timer = asyncio.get_running_loop().call_later(wait, self._tick)

    def _say(self, number: int, due: float, now: float) -> None:
        schedule = self._talk.schedule
        client = self._clients[number // schedule.step % len(self._clients)]
        channel = self._talk.channel or self._dialect.channel_of(client.index)
        data = payload(self._talk.size, number, int(due * 1e9))
        client.say(self._dialect.publication(channel, data))
        self._tally.progress.spoken += 1
        if len(self._tally.speech_lateness_s) < MAX_LATENESS_SAMPLES:
            self._tally.speech_lateness_s.append(now - due)
