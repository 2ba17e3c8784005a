"""Reads and prepares the next page of the log while the previous one is being committed.

So PostgreSQL and this process work at the same time: between two statements, only the fold and the making of rows
remain to be done.
"""

from __future__ import annotations

import asyncio
from math import ceil
from typing import Final, NamedTuple, Protocol

from proto.events import EventBatch
from services.sessions.entries import Entry
from services.sessions.log_nats import LogPage
from services.sessions.overtaken import Overtaken
from services.sessions.read_set import ReadSet

MAX_EVENTS: Final = 60_000
"""About the most facts in one transaction. There are this many only with a backlog, when a page of the log makes one
transaction or a few. The larger a transaction is, the more rows are written once instead of twice. The page bounds the
bytes."""


class Log(Protocol):
    """The part of `log_nats.SessionLog` that is needed here."""

    async def read(self, start: int) -> LogPage:
        """A bounded number of batches from sequence `start` on."""


class Portion(NamedTuple):
    """The messages of one transaction, the sequence up to which they go, the number of their facts, the rows that these
    facts may touch (None: not worked out), and what the log dropped before and between the messages."""

    upto: int
    entries: list[Entry]
    events: int
    read_set: ReadSet | None
    overtaken: tuple[Overtaken, ...] = ()

    @property
    def batches(self) -> list[EventBatch]:
        """The batches among the messages."""
        return [entry.batch for entry in self.entries if entry.batch is not None]

    def halves(self) -> tuple[Portion, Portion]:
        """The portion as two, each with half of the messages."""
        middle = len(self.entries) // 2
        first, second = self.entries[:middle], self.entries[middle:]
        before = _portion(first[-1].sequence, first, None)._replace(overtaken=self.overtaken)
        return before, _portion(self.upto, second, None)


def _portion(upto: int, entries: list[Entry], read_set: ReadSet | None) -> Portion:
    return Portion(upto, entries, sum(map(_events_of, entries)), read_set)


def _events_of(entry: Entry) -> int:
    return 0 if entry.batch is None else len(entry.batch.events)


def _even_part(events: int, most: int) -> int:
    """How many of these facts go into each portion, so that all portions are about equal: the next one is folded while
    one is written, so a small portion among large ones only makes the other side wait."""
    return ceil(events / max(1, ceil(events / most)))


async def _prepared(upto: int, entries: list[Entry]) -> Portion:
    portion = _portion(upto, entries, None)
    read_set = ReadSet()
    try:
        for batch in portion.batches:
            read_set.add(batch)
            await asyncio.sleep(0)  # so that a finished commit can go on, and requests are answered
    except Exception:  # the store works it out again, and refuses the facts to blame
        return portion
    return portion._replace(read_set=read_set)


class Reading(NamedTuple):
    """A page of the log in portions; no portions if the log has nothing there. The other fields are as in
    `log_nats.LogPage`."""

    portions: list[Portion]
    upto: int
    more: bool


class ReadAhead:
    """Reads the log one page ahead. `written` is set when something is written to the log, and cleared before each
    read: if it is set afterwards, there may be more. `most` is about how many facts a portion has at most."""

    def __init__(self, session_log: Log, written: asyncio.Event) -> None:
        self.most = MAX_EVENTS
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
        if page.upto < start:
            return Reading([], page.upto, page.more)
        portions: list[Portion] = []
        entries: list[Entry] = []
        events = 0
        enough = _even_part(sum(map(_events_of, page.entries)), self.most)
        for entry in page.entries:
            entries.append(entry)
            events += _events_of(entry)
            if events >= enough and entry.sequence < page.upto:
                portions.append(await _prepared(entry.sequence, entries))
                entries, events = [], 0
        portions.append(await _prepared(page.upto, entries))
        return Reading(portions, page.upto, page.more)

    async def close(self) -> None:
        """Ends a read in progress."""
        if self._ahead is not None:
            self._ahead[1].cancel()
            await asyncio.gather(self._ahead[1], return_exceptions=True)
            self._ahead = None
