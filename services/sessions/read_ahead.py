"""Reads the next stretch of the log, and prepares it, while the one before it is committed.

PostgreSQL and we work at the same time so: of all that a fact costs us, only the fold itself and the rows that come of
it are left between two statements.
"""

from __future__ import annotations

import asyncio
from typing import Final, NamedTuple, Protocol

from proto.events import EventBatch
from services.sessions.log_nats import LogPage
from services.sessions.read_set import ReadSet, read_set_of

MAX_EVENTS: Final = 10_000
"""Facts in one transaction, prepared in one go: a third of a second's work at the rate that we mean to reach."""


class Log(Protocol):
    """What is asked of `log_nats.SessionLog`."""

    async def read(self, start: int) -> LogPage:
        """A bounded number of batches from sequence `start` on."""


class Portion(NamedTuple):
    """One transaction: its facts, up to which sequence they go, and the rows that they may touch."""

    upto: int
    batches: list[EventBatch]
    events: int
    read_set: ReadSet


class Reading(NamedTuple):
    """A page of the log in portions, none if the log holds nothing there. The rest as in `log_nats.LogPage`."""

    portions: list[Portion]
    upto: int
    rejected: int
    more: bool


class ReadAhead:
    """`written` is cleared before each read, so that whatever is written after it was asked for leaves it set."""

    def __init__(self, session_log: Log, written: asyncio.Event) -> None:
        self._log = session_log
        self._written = written
        self._ahead: tuple[int, asyncio.Task[Reading]] | None = None

    async def read(self, start: int) -> Reading:
        """What the log holds from `start` on. Raises what the log raises."""
        if self._ahead is not None and self._ahead[0] == start:
            reading = await self._ahead[1]
            self._ahead = None
        else:
            await self.close()  # the position jumped
            self._written.clear()
            reading = await self._read(start)
        if reading.more:
            after = reading.upto + 1
            self._written.clear()
            self._ahead = after, asyncio.get_running_loop().create_task(self._read(after))
        return reading

    async def _read(self, start: int) -> Reading:
        page = await self._log.read(start)
        portions: list[Portion] = []
        batches: list[EventBatch] = []
        events = 0
        for sequence, batch in page.batches:
            batches.append(batch)
            events += len(batch.events)
            if events >= MAX_EVENTS and sequence < page.upto:
                portions.append(Portion(sequence, batches, events, read_set_of(batches)))
                batches, events = [], 0
                await asyncio.sleep(0)  # PostgreSQL may have answered
        if page.upto >= start:
            portions.append(Portion(page.upto, batches, events, read_set_of(batches)))
        return Reading(portions, page.upto, page.rejected, page.more)

    async def close(self) -> None:
        if self._ahead is not None:
            self._ahead[1].cancel()
            await asyncio.gather(self._ahead[1], return_exceptions=True)
            self._ahead = None
