"""Reads and prepares the next page of the log while the previous one is being committed.

PostgreSQL and this process thus work at the same time: of the work on a fact, only the fold and the making of rows
remain between two statements.
"""

from __future__ import annotations

import asyncio
from typing import Final, NamedTuple, Protocol

from proto.events import EventBatch
from services.sessions.log_nats import LogPage
from services.sessions.read_set import ReadSet, read_set_of

MAX_EVENTS: Final = 10_000
"""Facts in one transaction: a third of a second's work at the rate that this service is meant to reach."""


class Log(Protocol):
    """The part of `log_nats.SessionLog` that is needed here."""

    async def read(self, start: int) -> LogPage:
        """A bounded number of batches from sequence `start` on."""


class Portion(NamedTuple):
    """The facts of one transaction, the sequence of the last of them, and the rows that they may touch."""

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
    """Reads the log one page ahead. `written` is set when something is written to the log, and cleared before each
    read: if it is set afterwards, there may be more."""

    def __init__(self, session_log: Log, written: asyncio.Event) -> None:
        self._log = session_log
        self._written = written
        self._ahead: tuple[int, asyncio.Task[Reading]] | None = None

    async def read(self, start: int) -> Reading:
        """The page of the log from sequence `start` on. Raises the log's errors."""
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
                await asyncio.sleep(0)  # so that a finished commit can go on
        if page.upto >= start:
            portions.append(Portion(page.upto, batches, events, read_set_of(batches)))
        return Reading(portions, page.upto, page.rejected, page.more)

    async def close(self) -> None:
        """Ends a read in progress."""
        if self._ahead is not None:
            self._ahead[1].cancel()
            await asyncio.gather(self._ahead[1], return_exceptions=True)
            self._ahead = None
