"""The read model in PostgreSQL, written in bulk: a commit takes about ten statements, however many facts it has.

New rows are copied, which costs PostgreSQL far less than an upsert; rows that were loaded are upserted. A connection
that was not loaded is new, and so are all rows with its name: the writer holds the lock of the position, and everybody
else only deletes.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence, Set
from datetime import UTC, datetime, timedelta
from functools import lru_cache, partial
from typing import Any, Final, NamedTuple, TypeVar

import asyncpg

from proto.events import EventBatch
from services.chassis.postgres.pool import Database, Pool
from services.sessions import statements as sql
from services.sessions.projection import NAME, fold, name_of, text
from services.sessions.read_set import ReadSet, read_set_of
from services.sessions.rows import Connection, Session, State, Subscription
from services.sessions.store import Outcome, Position, PositionConflict, unseen

log = logging.getLogger(__name__)

K = TypeVar("K", str, tuple[str, str])
"""The key of a row."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_MOMENTS: Final = 4096
"""Cached times: facts that are folded together share many."""


@lru_cache(_MOMENTS)
def moment(ms: int) -> datetime:
    """Unix milliseconds in the type that PostgreSQL's driver uses."""
    return _EPOCH + timedelta(milliseconds=ms)


def milliseconds(at: datetime) -> int:
    """A time of PostgreSQL in Unix milliseconds."""
    return (at - _EPOCH) // _MILLISECOND


def _moment(ms: int | None) -> datetime | None:
    return None if ms is None else moment(ms)


def _milliseconds(at: datetime | None) -> int | None:
    return None if at is None else milliseconds(at)


class PostgresStore:
    """The `store.Store` of the service. `resume_window_ms` is how long a session that is away may be continued."""

    def __init__(self, pool: Pool, resume_window_ms: int) -> None:
        self._pool = pool
        self._resume_window_ms = resume_window_ms

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
        self, expected: Position, upto: Position, batches: Sequence[EventBatch], read_set: ReadSet | None = None
    ) -> Outcome:
        try:
            return await self._commit(expected, upto, batches, read_set, copying=True)
        except asyncpg.UniqueViolationError as error:  # rows were added by hand, or partly restored
            log.warning("a row that should be new exists already, writing this batch by upserts: %s", error)
            return await self._commit(expected, upto, batches, read_set, copying=False)

    async def _commit(
        self,
        expected: Position,
        upto: Position,
        batches: Sequence[EventBatch],
        read_set: ReadSet | None,
        *,
        copying: bool,
    ) -> Outcome:
        async with self._pool.database() as database, database.transaction():
            at = await database.fetchrow(sql.LOCK_POSITION, NAME)
            assert at is not None
            actual = Position(at["epoch"], at["sequence"])
            if actual != expected:
                raise PositionConflict(actual)
            known = await database.fetch(sql.NUMBERS, list({name_of(batch.instance) for batch in batches}))
            new = unseen(batches, {row["instance"]: row["number"] for row in known})
            state = await self._load(database, read_set_of(new) if read_set is None else read_set)
            loaded = frozenset(state.connections)
            fold(state, new)
            fresh = state.connections.keys() - loaded if copying else frozenset[str]()
            await self._write(database, state, fresh)
            await self._move(database, upto, new)
        return Outcome(
            state.events, len(batches) - len(new), state.unknown, state.resumed, state.edges_lost, state.interrupted
        )

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
            [session_of(row) for row in await database.fetch(sql.LATER_SESSIONS, *_columns(spans, 3))] if ends else []
        )
        if later:
            for row in await database.fetch(sql.CONNECTIONS_OF_SESSIONS, [one.id for one in later]):
                connections.append(connection_of(row))
        wanted = read_set.returns(ends, state)
        if wanted:
            rows = [(key, moment(first), moment(last), count) for key, first, last, count in wanted]
            later += [session_of(row) for row in await database.fetch(sql.AWAY_SESSIONS, *_columns(rows, 4))]
        for session in later:
            state.put_session(session)
        for connection in connections:
            state.put_connection(connection)
        if read_set.subscriptions:
            keys = _columns(read_set.subscriptions, 2)
            for row in await database.fetch(sql.SUBSCRIPTIONS, *keys):
                state.put_subscription(subscription_of(row))
        return state

    async def _write(self, database: Database, state: State, fresh: Set[str]) -> None:
        """Writes all changes. The rows of each statement are made while PostgreSQL executes the previous one.

        `fresh` has the connections that are not in the tables yet.
        """
        if state.removed:
            await database.execute(sql.REMOVE_SESSIONS, list(state.removed))
        at_work: asyncio.Task[str] | None = None
        try:
            for statement in _writes(database, state, fresh):
                if at_work is not None:
                    await at_work
                at_work = asyncio.get_running_loop().create_task(statement())
                await asyncio.sleep(0)  # it is sent
            if at_work is not None:
                await at_work
        finally:
            if at_work is not None and not at_work.done():
                at_work.cancel()
                await asyncio.wait([at_work])

    async def _move(self, database: Database, upto: Position, new: Sequence[EventBatch]) -> None:
        last = {name_of(batch.instance): batch for batch in new}
        if last:
            rows = [(instance, text(batch.edge), batch.number) for instance, batch in sorted(last.items())]
            await database.execute(sql.KEEP_NUMBERS, *_columns(rows, 3))
        await database.execute(sql.MOVE_POSITION, NAME, upto.epoch, upto.sequence)


class _Table(NamedTuple):
    name: str
    columns: list[str]
    upsert: str


_SESSIONS = _Table("sessions", sql.SESSION_COLUMNS.split(", "), sql.WRITE_SESSIONS)
_CONNECTIONS = _Table("connections", sql.CONNECTION_COLUMNS.split(", "), sql.WRITE_CONNECTIONS)
_SUBSCRIPTIONS = _Table("subscriptions", sql.SUBSCRIPTION_COLUMNS.split(", "), sql.WRITE_SUBSCRIPTIONS)

_Statement = Callable[[], Coroutine[Any, Any, str]]


def _writes(database: Database, state: State, fresh: Set[str]) -> Iterator[_Statement]:
    """The statements that write the changed rows. The rows of each are made when it is taken from the iterator."""

    def table(
        table: _Table, changed: Iterable[K], is_new: Callable[[K], bool], values: Callable[[K], tuple[Any, ...]]
    ) -> Iterator[_Statement]:
        new: list[K] = []
        others: list[K] = []
        for key in sorted(changed):
            (new if is_new(key) else others).append(key)
        if new:
            rows = [values(key) for key in new]
            yield partial(database.copy_records_to_table, table.name, records=rows, columns=table.columns)
        if others:
            yield partial(database.execute, table.upsert, *_columns(map(values, others), len(table.columns)))

    sessions, connections, subscriptions = state.sessions, state.connections, state.subscriptions
    is_fresh = fresh.__contains__
    yield from table(_SESSIONS, state.changed_sessions, is_fresh, lambda key: _session_values(sessions[key]))
    yield from table(
        _CONNECTIONS, state.changed_connections, is_fresh, lambda key: _connection_values(connections[key])
    )
    yield from table(
        _SUBSCRIPTIONS,
        state.changed_subscriptions,
        lambda key: key[0] in fresh,
        lambda key: _subscription_values(subscriptions[key]),
    )


def _columns(rows: Iterable[tuple[Any, ...]], width: int) -> list[list[Any]]:
    columns = [list(column) for column in zip(*rows, strict=True)]
    return columns or [[] for _ in range(width)]


def session_of(row: asyncpg.Record) -> Session:
    """A row of `sql.SESSION_COLUMNS`."""
    (id_, user, key, name, version, edge, instance, connection, count, opened, lineage, ended, away, code, reason) = row
    return Session(
        id_, user, key, name, version, edge, instance, connection, count, milliseconds(opened), lineage,
        _milliseconds(ended), _milliseconds(away), code, reason,
    )  # fmt: skip


def _session_values(row: Session) -> tuple[Any, ...]:
    return (
        row.id, row.user, row.session_key, row.client_name, row.client_version, row.edge, row.instance, row.connection,
        row.connections, moment(row.opened_at), row.lineage, _moment(row.ended_at), _moment(row.away_until),
        row.end_code, row.end_reason,
    )  # fmt: skip


def connection_of(row: asyncpg.Record) -> Connection:
    """A row of `sql.CONNECTION_COLUMNS`."""
    id_, session_id, edge, instance, opened, closed, code, reason = row
    return Connection(id_, session_id, edge, instance, milliseconds(opened), _milliseconds(closed), code, reason)


def _connection_values(row: Connection) -> tuple[Any, ...]:
    closed = _moment(row.closed_at)
    opened = moment(row.opened_at)
    return row.id, row.session_id, row.edge, row.instance, opened, closed, row.close_code, row.close_reason


def subscription_of(row: asyncpg.Record) -> Subscription:
    """A row of `sql.SUBSCRIPTION_COLUMNS`."""
    connection, channel, since, until, recovered = row
    return Subscription(connection, channel, milliseconds(since), _milliseconds(until), recovered)


def _subscription_values(row: Subscription) -> tuple[Any, ...]:
    return row.connection, row.channel, moment(row.since), _moment(row.until), row.recovered
