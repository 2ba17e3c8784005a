"""The read model in PostgreSQL, written in bulk: a commit takes about ten statements, however many facts it has.

New rows are copied, which costs PostgreSQL far less than an upsert; rows that were loaded are upserted. A connection
that was not loaded is new, and so are all rows with its name: the writer holds the lock of the position, and everybody
else only deletes.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TypeVar

import asyncpg

from proto.events import EventBatch
from services.chassis.postgres.errors import DataRefused
from services.chassis.postgres.pool import Database, Pool
from services.sessions import statements as sql
from services.sessions.changes import changes_of
from services.sessions.dead_letters_postgres import put_aside, take_out
from services.sessions.entries import DeadLetter, Entry
from services.sessions.log_archive_postgres import archive
from services.sessions.projection import NAME, NAMES, fold
from services.sessions.read_set import ReadSet, read_set_of
from services.sessions.rows_postgres import columns, connection_of, moment, session_of, subscription_of
from services.sessions.state import State
from services.sessions.store import Outcome, Position, PositionConflict, Tell, refusals, unseen
from services.sessions.values import name_of, text
from services.sessions.writes_postgres import Fresh, write

log = logging.getLogger(__name__)

T = TypeVar("T")


class PostgresStore:
    """The `store.Store` of the service. `resume_window_ms` is how long a session that is away may be continued.

    `tell` is called after each commit with what it changed.
    """

    def __init__(self, pool: Pool, resume_window_ms: int, tell: Tell | None = None) -> None:
        self._pool = pool
        self._resume_window_ms = resume_window_ms
        self._tell = tell

    async def position(self) -> Position:
        async with self._pool.database() as database:
            row = await database.fetchrow(sql.POSITION, NAME)
        return Position(row["epoch"], row["sequence"]) if row else Position("", 0)

    async def open_instances(self) -> set[str]:
        async with self._pool.database() as database:
            return {row["instance"] for row in await database.fetch(sql.OPEN_INSTANCES)}

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
    ) -> Outcome:
        async def attempt(copying: bool) -> Outcome:
            async with self._locked() as (database, actual):
                if actual != expected:
                    raise PositionConflict(actual)
                known = await database.fetch(sql.NUMBERS, list({name_of(batch.instance) for batch in batches}))
                new = unseen(batches, {row["instance"]: row["number"] for row in known})
                state = await self._fold(database, new, read_set, copying)
                changes = None if self._tell is None else changes_of(state, new)
                if letters:
                    await put_aside(database, letters)
                if archived:
                    await archive(database, upto.epoch, archived)
                await self._move(database, upto, new)
            if self._tell is not None:
                self._tell(expected, upto, changes)
            return _outcome(state, len(batches) - len(new))

        return await _either_way(attempt)

    async def replay(self, letter: DeadLetter, batch: EventBatch, rest: DeadLetter | None = None) -> Outcome | None:
        async def attempt(copying: bool) -> Outcome | None:
            async with self._locked() as (database, _):
                if not await take_out(database, letter, rest):
                    return None
                outcome = _outcome(await self._fold(database, [batch], None, copying), 0)
                await database.execute(sql.NEXT_GENERATION, NAME)
                return outcome

        return await _either_way(attempt)

    @asynccontextmanager
    async def _locked(self) -> AsyncIterator[tuple[Database, Position]]:
        """A transaction that holds the lock of the position, which is the second value."""
        async with self._pool.database() as database, database.transaction():
            at = await database.fetchrow(sql.LOCK_POSITION, NAME)
            assert at is not None
            yield database, Position(at["epoch"], at["sequence"])

    async def _fold(
        self, database: Database, batches: Sequence[EventBatch], read_set: ReadSet | None, copying: bool
    ) -> State:
        state = await self._load(database, read_set_of(batches) if read_set is None else read_set)
        loaded = frozenset(state.connections)
        fold(state, batches)
        new = state.connections.keys() - loaded if copying else frozenset[str]()
        subscriptions = {key for key in state.changed_subscriptions if key[0] in new}
        await write(database, state, Fresh(new, subscriptions, copying))
        return state

    async def _load(self, database: Database, read_set: ReadSet) -> State:
        state = State(self._resume_window_ms)
        if not read_set.connections and not read_set.lost and not read_set.found:
            return state
        connections = [
            connection_of(row)
            for row in await database.fetch(
                sql.CONNECTIONS_OF_BATCH, list(read_set.connections), list(read_set.lost), list(read_set.found)
            )
        ]
        for row in await database.fetch(sql.SESSIONS, list({one.session_id for one in connections})):
            state.put_session(session_of(row))
        for connection in connections:
            state.put_connection(connection)
        ends = read_set.ends(state)
        spans = [(key, moment(first), moment(last + self._resume_window_ms)) for key, first, last, _ in ends]
        later = (
            [session_of(row) for row in await database.fetch(sql.LATER_SESSIONS, *columns(spans, 3))] if ends else []
        )
        if later:
            for row in await database.fetch(sql.CONNECTIONS_OF_SESSIONS, [one.id for one in later]):
                connections.append(connection_of(row))
        wanted = read_set.returns(ends, state)
        if wanted:
            rows = [(key, moment(first), moment(last), count) for key, first, last, count in wanted]
            later += [session_of(row) for row in await database.fetch(sql.AWAY_SESSIONS, *columns(rows, 4))]
        for session in later:
            state.put_session(session)
        for connection in connections:
            state.put_connection(connection)
        keys_wanted = read_set.subscriptions(state)
        if keys_wanted:
            keys = columns(keys_wanted, 2)
            for row in await database.fetch(sql.SUBSCRIPTIONS, *keys):
                state.put_subscription(subscription_of(row))
        return state

    async def _move(self, database: Database, upto: Position, new: Sequence[EventBatch]) -> None:
        last = {name_of(batch.instance): batch for batch in new}
        if last:
            rows = [(instance, text(batch.edge), batch.number) for instance, batch in sorted(last.items())]
            await database.execute(sql.KEEP_NUMBERS, *columns(rows, 3))
        await database.execute(sql.MOVE_POSITIONS, [*NAMES.values()], upto.epoch, upto.sequence)


async def _either_way(attempt: Callable[[bool], Awaitable[T]]) -> T:
    """Writes new rows by copying them, or by upserts if some of them are there already."""
    with refusals():
        try:
            return await attempt(True)
        except DataRefused as error:
            if not isinstance(error.__cause__, asyncpg.UniqueViolationError):
                raise
            # Rows were added by hand, or partly restored.
            log.warning("a row that should be new exists already, writing this batch by upserts: %s", error.__cause__)
            return await attempt(False)


def _outcome(state: State, duplicates: int) -> Outcome:
    return Outcome(state.events, duplicates, state.unknown, state.resumed, state.edges_lost, state.interrupted)
