"""The read models in PostgreSQL, written in bulk: a commit takes some ten statements, however many facts it has.

A commit has two halves. The first folds into rows that are kept in memory, and prepares the rows to write; the second
writes them in one transaction. While one commit is written, the next one may be folded. Memory is trusted only while
nobody else writes: under the lock of the position its row must be as this store left it. Otherwise, and after any
error, the memory is dropped and loaded anew.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Final, NamedTuple, TypeVar

import asyncpg

from proto.events import EventBatch
from services.chassis.postgres.errors import DataRefused
from services.chassis.postgres.pool import Database, Pool
from services.sessions import statements as sql
from services.sessions.changes import Change, changes_of
from services.sessions.dead_letters_postgres import put_aside, take_out
from services.sessions.entries import DeadLetter, Entry
from services.sessions.erasing_postgres import erase
from services.sessions.loading_postgres import load, load_erasures, load_living, stored_connections
from services.sessions.log_archive_postgres import archive
from services.sessions.model_numbers_postgres import outdated
from services.sessions.overtaken import Overtaken
from services.sessions.overtaken_postgres import keep_overtaken
from services.sessions.projection import NAME, NAMES, fold
from services.sessions.read_set import ReadSet, read_set_of
from services.sessions.resident import Resident
from services.sessions.rows_postgres import columns
from services.sessions.store import ORIGIN, Outcome, Position, PositionConflict, Tell, refusals, unseen
from services.sessions.values import label, lineage_of, name_of
from services.sessions.writes_postgres import Write, writes_of

log = logging.getLogger(__name__)

T = TypeVar("T")

MAX_RESIDENT: Final = 200_000
"""Sessions in memory, about 1 KB each with a connection. If more are open, memory is dropped whenever it is full."""

_AGAIN_AFTER_S: Final = 10.0
"""How long after an error all living sessions are loaded again. Until then memory fills as facts come."""

_SLICE: Final = 256
"""Facts that are folded in one go, before others have their turn."""


class _Plan(NamedTuple):
    """A folded commit, and what it writes. It is right only if no connection in `presumed` is stored."""

    rows: Resident
    fold: int  # its number
    writes: list[Write]
    erased: list[tuple[str, int]]
    new: list[EventBatch]
    outcome: Outcome
    changes: list[Change] | None
    presumed: Sequence[str] = ()


class _Void(Exception):
    """The stored position, or its generation, is not that of the rows in memory."""

    def __init__(self, actual: Position) -> None:
        self.actual = actual


class _NotNew(Exception):
    """A connection was presumed to be new, but is stored: its opening came before."""


class PostgresStore:
    """The `store.Store` of the service. `resume_window_ms` is how long a session that is away may be continued; at most
    about `max_resident` sessions are kept in memory. `tell` learns after each commit what it changed."""

    def __init__(
        self, pool: Pool, resume_window_ms: int, tell: Tell | None = None, max_resident: int = MAX_RESIDENT
    ) -> None:
        self._pool = pool
        self._tell = tell
        self._resume_window_ms = resume_window_ms
        self._max_resident = max_resident
        self._names = [NAME]  # the positions that a commit moves
        self._rows: Resident | None = None
        self._stored = 0  # the last fold of these rows that is in the tables
        self._load_at = 0.0  # monotonic time from which all living sessions may be loaded
        self._preparing = asyncio.Lock()
        self._writing = asyncio.Lock()

    async def position(self) -> Position:
        async with self._pool.database() as database:
            return (await _stored_position(database))[0]

    def release(self) -> None:
        self._rows = None
        lineage_of.cache_clear()

    async def open_instances(self) -> set[str]:
        async with self._pool.database() as database:
            return {row["instance"] for row in await database.fetch(sql.OPEN_INSTANCES)}

    async def running_instances(self) -> set[str]:
        async with self._pool.database() as database:
            return {row["instance"] for row in await database.fetch(sql.RUNNING_INSTANCES)}

    async def last_number(self, instance: str) -> int:
        async with self._pool.database() as database:
            rows = await database.fetch(sql.NUMBERS, [name_of(instance)])
        return rows[0]["number"] if rows else 0

    async def writers(self, prefix: str) -> dict[str, int]:
        async with self._pool.database() as database:
            return {row["instance"]: row["number"] for row in await database.fetch(sql.WRITERS, prefix)}

    async def commit(
        self,
        expected: Position,
        upto: Position,
        batches: Sequence[EventBatch],
        read_set: ReadSet | None = None,
        letters: Sequence[DeadLetter] = (),
        archived: Sequence[Entry] = (),
        overtaken: Sequence[Overtaken] = (),
    ) -> Outcome:
        async def attempt(copying: bool) -> Outcome:
            async with self._folded(expected, upto, batches, read_set, copying) as plan:
                async with self._locked() as (database, position, generation):
                    if position != expected or generation != plan.rows.generation:
                        raise _Void(position)
                    await _write(database, plan)
                    without_room = await put_aside(database, letters) if letters else 0
                    gone = await keep_overtaken(database, upto.epoch, overtaken) if overtaken else 0
                    if archived:
                        await archive(database, upto.epoch, archived)
                    await _move(database, upto, plan.new, self._names)
                self._stored = plan.fold
                if self._tell is not None:
                    self._tell.tell(expected, upto, plan.changes, plan.rows.generation)
            return plan.outcome._replace(without_room=without_room, overtaken=gone)

        async def attempts(copying: bool) -> Outcome:
            while True:
                try:
                    return await attempt(copying)
                except _Void as void:
                    if void.actual != expected:
                        raise PositionConflict(void.actual) from None
                    # Only rows have changed, not the position: a letter was replayed, or a model rebuilt.

        return await _either_way(attempts)

    async def replay(self, letter: DeadLetter, batch: EventBatch, rest: DeadLetter | None = None) -> Outcome | None:
        async def attempt(copying: bool) -> Outcome | None:
            async with self._preparing, self._writing, self._locked() as (database, position, generation):
                self._drop()
                if not await take_out(database, letter, rest):
                    return None
                rows = await self._begun(database, position, generation)
                await load(database, rows, read_set_of([batch]))
                fold(rows, [batch])
                plan = await _plan(rows, [], 0, copying)
                await _write(database, plan)
                await database.execute(sql.NEXT_GENERATION, NAME)
                return plan.outcome

        return await _either_way(attempt)

    # --- the first half of a commit: in memory ------------------------------------------------------------------------

    @asynccontextmanager
    async def _folded(
        self, expected: Position, upto: Position, batches: Sequence[EventBatch], read_set: ReadSet | None, copying: bool
    ) -> AsyncIterator[_Plan]:
        """A folded commit, when it is its turn to be written. After any error, memory is dropped."""
        try:
            while True:
                async with self._preparing:
                    plan = await self._fold(expected, upto, batches, read_set, copying)
                    await self._writing.acquire()
                try:
                    if plan.rows is self._rows:
                        yield plan
                        break
                    # The commit before this one failed: what was folded upon it is void.
                finally:
                    self._writing.release()
        except BaseException:
            self._drop()
            raise
        if plan.rows.is_fuller_than(self._max_resident):
            self._drop()

    async def _fold(
        self, expected: Position, upto: Position, batches: Sequence[EventBatch], read_set: ReadSet | None, copying: bool
    ) -> _Plan:
        rows = self._rows
        if rows is None or rows.position != expected or rows.is_erasing or self._may_load(rows):
            async with self._writing, self._pool.database() as database:  # the commit before this one is written
                rows = self._rows
                if rows is None or rows.position != expected or self._may_load(rows):
                    rows = self._rows = await self._loaded(database, expected)
        rows.shrink(self._stored)
        new: list[EventBatch] = []
        presumed: list[str] = []
        if batches:
            async with self._pool.database() as database:
                missing = {name_of(batch.instance) for batch in batches} - rows.numbers.keys()
                if missing:
                    known = await database.fetch(sql.NUMBERS, list(missing))
                    rows.numbers |= dict.fromkeys(missing, 0) | {row["instance"]: row["number"] for row in known}
                new = unseen(batches, rows.numbers)
                if read_set is None or len(new) < len(batches):
                    read_set = read_set_of(new)
                if copying:
                    presumed = list(read_set.opening - rows.connections.keys())
                await load(database, rows, read_set, presuming=copying)
        waiting = 0
        part: list[EventBatch] = []
        for batch in new:
            part.append(batch)
            waiting += len(batch.events)
            if waiting >= _SLICE or batch is new[-1]:
                fold(rows, part)
                part, waiting = [], 0
                await asyncio.sleep(0)
        rows.position = upto
        telling = self._tell is not None and self._tell.wanted
        return (await _plan(rows, new, len(batches) - len(new), copying, telling))._replace(presumed=presumed)

    def _may_load(self, rows: Resident) -> bool:
        return rows.knows_nothing and time.monotonic() >= self._load_at

    async def _loaded(self, database: Database, expected: Position) -> Resident:
        """Memory, loaded anew. Raises `PositionConflict` if somebody else has moved the position."""
        position, generation = await _stored_position(database)
        if position != expected:
            raise PositionConflict(position)
        rows = await self._begun(database, position, generation)
        self._stored = 0
        if time.monotonic() >= self._load_at and not await load_living(database, rows, self._max_resident // 2):
            self._load_at = time.monotonic() + _AGAIN_AFTER_S
            rows = await self._begun(database, position, generation)
        return rows

    async def _begun(self, database: Database, position: Position, generation: int) -> Resident:
        rows = Resident(self._resume_window_ms)
        rows.position, rows.generation = position, generation
        await load_erasures(database, rows)
        others = await outdated(database)
        self._names = [NAME, *(name for model, name in NAMES.items() if name != NAME and model not in others)]
        return rows

    def _drop(self) -> None:
        self._rows, self._load_at = None, time.monotonic() + _AGAIN_AFTER_S

    # --- the second half: in PostgreSQL -------------------------------------------------------------------------------

    @asynccontextmanager
    async def _locked(self) -> AsyncIterator[tuple[Database, Position, int]]:
        """A transaction that holds the lock of the position, with the position and its generation."""
        async with self._pool.database() as database, database.transaction():
            at = await database.fetchrow(sql.LOCK_POSITION, NAME)
            assert at is not None
            yield database, Position(at["epoch"], at["sequence"]), at["generation"]


async def _stored_position(database: Database) -> tuple[Position, int]:
    row = await database.fetchrow(sql.POSITION, NAME)
    return (ORIGIN, 0) if row is None else (Position(row["epoch"], row["sequence"]), row["generation"])


async def _plan(rows: Resident, new: list[EventBatch], duplicates: int, copying: bool, telling: bool = False) -> _Plan:
    changes = changes_of(rows, new) if telling else None
    writes = await writes_of(rows, copying)
    outcome = Outcome(rows.events, duplicates, rows.unknown, rows.resumed, rows.edges_lost, rows.interrupted)
    erased = rows.erased
    rows.settle()
    return _Plan(rows, rows.folds, writes, erased, new, outcome, changes)


async def _write(database: Database, plan: _Plan) -> None:
    if await stored_connections(database, plan.presumed):
        raise _NotNew
    if plan.erased:
        await erase(database, plan.erased)
        lineage_of.cache_clear()  # it has user ids
    for write in plan.writes:
        await write(database)


async def _move(database: Database, upto: Position, new: Sequence[EventBatch], names: Sequence[str]) -> None:
    last = {name_of(batch.instance): batch for batch in new}
    if last:
        rows = [(instance, label(batch.edge), batch.number) for instance, batch in sorted(last.items())]
        await database.execute(sql.KEEP_NUMBERS, *columns(rows, 3))
    await database.execute(sql.MOVE_POSITIONS, names, upto.epoch, upto.sequence)


async def _either_way(attempt: Callable[[bool], Awaitable[T]]) -> T:
    """First presumes that connections that are opened are new, and copies new rows. If some rows exist already, it
    loads them before the fold, and upserts."""
    with refusals():
        try:
            return await attempt(True)
        except _NotNew:
            return await attempt(False)
        except DataRefused as error:
            if not isinstance(error.__cause__, asyncpg.UniqueViolationError):
                raise
            # Rows were added by hand, or partly restored.
            log.warning("a row that should be new exists already, writing this batch by upserts: %s", error.__cause__)
            return await attempt(False)
