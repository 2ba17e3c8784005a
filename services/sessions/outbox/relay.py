"""The relay: publishes the rows of the outbox in the order of each channel, and deletes them once they are published.

Several relays share the work, each with several workers. A worker takes a turn: it publishes the rows of some channels,
those of one channel one after the other. A failure delays only its own channel.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Final, Protocol, assert_never

from services.chassis.postgres.errors import StoreAway
from services.chassis.process.complaint import Complaint
from services.chassis.process.log_fields import about
from services.sessions.instruments import Instruments
from services.sessions.outbox.delays import Delays
from services.sessions.outbox.rows import NotNow, Outcome, Published, Refused, Row

log = logging.getLogger(__name__)

TURN_S: Final = 8.0
"""A turn begins no publish after this time: PostgreSQL ends a turn after 20 s, and a publish takes 5 s at most."""
AT_ONCE: Final = 64
"""Publishes of a relay that may be in progress at once."""
_AWAY_S: Final = 1.0
"""Seconds between tries while PostgreSQL is away."""


class Turn(Protocol):
    """Rows that no other relay works on now, by id."""

    @property
    def rows(self) -> Sequence[Row]: ...
    async def settle(
        self, published: Sequence[Row], refused: Sequence[tuple[Row, Refused]], unsent: Sequence[Row]
    ) -> None: ...


class Table(Protocol):
    """The rows that wait. See `table_postgres.OutboxTable`."""

    async def check(self) -> None: ...
    def turn(self, but: Sequence[str]) -> AbstractAsyncContextManager[Turn]: ...
    async def watch(self, committed: Callable[[], None], waited: Callable[[float], None], every_s: float) -> None: ...


class Publisher(Protocol):
    """Publishes a row. See `publisher_nats.OutboxPublisher`."""

    @property
    def available(self) -> bool: ...
    async def publish(self, row: Row, key_age_s: float | None) -> Outcome: ...


class Relay:
    """One relay with `workers` turns at once. It looks for rows when it hears of them, and every `poll_s` seconds."""

    def __init__(
        self, table: Table, publisher: Publisher, instruments: Instruments, workers: int, poll_s: float
    ) -> None:
        self._table = table
        self._publisher = publisher
        self._instruments = instruments
        self._workers = workers
        self._poll_s = poll_s
        self._news: asyncio.Queue[None] = asyncio.Queue(1)
        self._delays = Delays()
        self._places = asyncio.Semaphore(AT_ONCE)
        self._complaint = Complaint()
        self._turns = 0
        self._leaving = False
        self._settled = asyncio.Event()
        self._oldest_s = 0.0
        self._looked_at: float | None = None
        self._watching = False  # the tables are there, and so is PostgreSQL
        self._watch_problem: str | None = None
        self._work_problem: str | None = None

    @property
    def problem(self) -> str | None:
        """Why rows cannot be published now, None if there is no reason."""
        return self._watch_problem or self._work_problem

    def notify(self) -> None:
        """There may be something to do: one worker looks. It leaves rows alone on which another worker or relay
        works."""
        if not self._news.full():
            self._news.put_nowait(None)

    async def run(self) -> None:
        """Publishes, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._watch())
            for _ in range(self._workers):
                group.create_task(self._work())

    async def leave(self, within_s: float) -> None:
        """Takes no more turns; returns when those in progress have ended, or after `within_s` seconds.

        Rows that are published but not deleted would have to be looked up by the next relay, if it comes after NATS has
        forgotten the keys.
        """
        self._leaving = True
        if self._turns:
            try:
                async with asyncio.timeout(within_s):
                    await self._settled.wait()
            except TimeoutError:
                log.warning(
                    "stopping while rows of the outbox are being published: rows that are not deleted yet are sent "
                    "again with their keys, so that each is published once"
                )

    # --- what there is to do -----------------------------------------------------------------------------------------

    async def _watch(self) -> None:
        self._looked_at = asyncio.get_running_loop().time()
        while True:
            try:
                await self._table.check()
                await self._table.watch(self.notify, self._waited, self._poll_s)
            except StoreAway as error:
                self._watching = False
                self._watch_problem = self._complain(error)
                waited_s = asyncio.get_running_loop().time() - self._looked_at
                self._instruments.outbox_oldest.set(self._oldest_s + waited_s)
            await asyncio.sleep(_AWAY_S)

    def _waited(self, oldest_s: float) -> None:
        self._watch_problem, self._watching = None, True
        self._oldest_s, self._looked_at = oldest_s, asyncio.get_running_loop().time()
        self._instruments.outbox_oldest.set(oldest_s)
        if oldest_s or self._work_problem:
            self.notify()

    async def _work(self) -> None:
        while True:
            await self._news.get()
            try:
                while await self._turn():
                    pass
                self._work_problem = None
            except StoreAway as error:
                self._work_problem = self._complain(error)
                await asyncio.sleep(_AWAY_S)
                self.notify()

    def _complain(self, error: StoreAway) -> str:
        text = str(error).replace("postgres.url", "outbox.url")
        if self._complaint.due(text, asyncio.get_running_loop().time()):
            log.warning("rows of the outbox cannot be published now, trying again: %s", text)
        return f"the outbox: {text}"

    # --- one turn ----------------------------------------------------------------------------------------------------

    async def _turn(self) -> bool:
        """Takes a turn. Whether there may be more to do."""
        now = asyncio.get_running_loop().time()
        but = self._delays.waiting(now)
        if but is None or self._leaving or not self._watching or not self._publisher.available:
            return False
        self._turns += 1
        self._settled.clear()
        try:
            async with self._table.turn(but) as turn:
                if not turn.rows:
                    return False
                self.notify()  # another worker looks for more
                published, refused, doubtful = await self._publish_all(turn.rows, now)
                settled = doubtful.union((row.id for row in published), (row.id for row, _ in refused))
                unsent = [row for row in turn.rows if row.tried_s is None and row.id not in settled]
                await turn.settle(published, refused, unsent)
        finally:
            self._turns -= 1
            if not self._turns:
                self._settled.set()
        took_s = asyncio.get_running_loop().time() - now
        for row in published:
            self._instruments.outbox_seconds.observe(row.waited_s + took_s)
        self._instruments.outbox_published.inc(len(published))
        self._tell(refused)
        return True

    async def _publish_all(
        self, rows: Sequence[Row], began: float
    ) -> tuple[list[Row], list[tuple[Row, Refused]], set[int]]:
        """The rows that are published, those that are refused, and the ids of those for which that is not known."""
        loop = asyncio.get_running_loop()
        doubtful: set[int] = set()
        published: list[Row] = []
        refused: list[tuple[Row, Refused]] = []
        by_channel: dict[str, list[Row]] = {}
        for row in rows:
            by_channel.setdefault(row.channel, []).append(row)

        async def publish(channel: str) -> None:
            for row in by_channel[channel]:
                async with self._places:
                    taken_s = loop.time() - began
                    if self._leaving or taken_s > TURN_S:
                        return
                    age = None if row.tried_s is None else max(0.0, row.tried_s) + taken_s
                    outcome = await self._publisher.publish(row, age)
                match outcome:
                    case Published():
                        published.append(row)
                    case Refused():
                        refused.append((row, outcome))
                    case NotNow():
                        if outcome.sent:
                            doubtful.add(row.id)
                        self._put_off(channel, outcome)
                        return
                    case _:
                        assert_never(outcome)
                self._delays.succeeded(channel)

        async with asyncio.TaskGroup() as group:
            for channel in by_channel:
                group.create_task(publish(channel))
        return published, refused, doubtful

    def _put_off(self, channel: str, why: NotNow) -> None:
        loop = asyncio.get_running_loop()
        self._instruments.outbox_retries.inc()
        loop.call_later(self._delays.put_off(channel, loop.time()), self.notify)
        if self._complaint.due(why.reason, loop.time()):
            log.warning(
                "a row of the outbox is not published, its channel waits: %s", why.reason, extra=about(channel=channel)
            )

    def _tell(self, refused: Sequence[tuple[Row, Refused]]) -> None:
        now = asyncio.get_running_loop().time()
        for row, why in refused:
            self._instruments.outbox_set_aside.inc()
            if self._complaint.due(why.reason, now):
                log.warning(
                    "row %d of the outbox cannot be published and is set aside: %s (`outbox` lists such rows)",
                    row.id,
                    why.reason,
                    extra=about(channel=row.channel, code=why.code),
                )
