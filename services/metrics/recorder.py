"""Writes each minute to the history. While the history is unavailable, minutes wait, up to a limit.

Only this task waits for PostgreSQL. The history is optional: `problem` says why there is none now, and the rest of the
service works without it.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from services.chassis.postgres.errors import SchemaRefused, StoreAway
from services.metrics.history import HOUR_S, History
from services.metrics.minutes import Minute

log = logging.getLogger(__name__)

MAX_WAITING: Final = 50_000
"""How many minutes of edges may wait for PostgreSQL: some 20 MB, three days of ten edges. Beyond that the oldest are
dropped."""

_PORTION: Final = 2_000
_RETRY_S: Final = (1.0, 30.0)  # first and longest pause
_SETTLED_S: Final = 120.0  # an hour is summed up only when all instances have written its minutes


Prepare = Callable[[], Awaitable[None]]
Ready = Callable[[History], Awaitable[None]]


class Recorder:
    """Takes minutes, and writes them while it runs. `now` returns Unix time in seconds. `written` and `dropped` count
    minutes of edges."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._waiting: deque[Minute] = deque()
        self._news = asyncio.Event()
        self._tidied = 0.0
        self.problem: str | None = "PostgreSQL: not connected yet"
        self.written = 0
        self.dropped = 0

    @property
    def waiting(self) -> int:
        """Minutes of edges that are not written yet."""
        return len(self._waiting)

    def add(self, minutes: Sequence[Minute]) -> None:
        """Takes minutes, to be written soon."""
        self._waiting.extend(minutes)
        while len(self._waiting) > MAX_WAITING:
            self._waiting.popleft()
            self.dropped += 1
        self._news.set()

    async def run(self, history: History, prepare: Prepare, ready: Ready) -> None:
        """Writes to `history` until cancelled. `prepare` makes it usable, before the first write and after each
        failure; `ready` is called once, when the history can be read for the first time."""
        pause = _RETRY_S[0]
        known = False
        while True:
            try:
                await prepare()
                if not known:
                    await ready(history)
                    known = True
                if self.problem is not None:
                    log.info("the history is in PostgreSQL")
                self.problem, pause = None, _RETRY_S[0]
                while True:
                    await self.write(history)
                    await self._news.wait()
            except (StoreAway, SchemaRefused) as error:
                if self.problem != str(error):
                    log.warning("no history now: %s", error)
                self.problem = str(error)
            except Exception as error:  # the history is optional: no failure of the database may end this service
                problem = f"PostgreSQL: {error}" if str(error) else type(error).__name__
                if self.problem != problem:
                    log.exception("no history now")
                self.problem = problem
            await asyncio.sleep(pause)
            pause = min(pause * 2, _RETRY_S[1])

    async def write(self, history: History) -> None:
        """Writes the waiting minutes, then sums up hours if one has ended. Raises `StoreAway`; the minutes then still
        wait."""
        self._news.clear()
        while self._waiting:
            portion = [self._waiting[index] for index in range(min(_PORTION, len(self._waiting)))]
            await history.write(portion)
            for one in portion:
                if self._waiting and self._waiting[0] is one:  # `add` may have dropped it meanwhile
                    self._waiting.popleft()
            self.written += len(portion)
        settled = (self._now() - _SETTLED_S) // HOUR_S
        if settled > self._tidied:
            dropped = await history.tidy(self._now() - _SETTLED_S)
            self._tidied = settled
            if dropped:
                log.info("dropped %d partitions of the history that were too old", dropped)
