"""The rows of the read model as PostgreSQL has them: read into those of the fold, and written in bulk.

New rows are copied, which costs PostgreSQL far less than an upsert; rows that were loaded are upserted.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Iterator, Set
from datetime import UTC, datetime, timedelta
from functools import lru_cache, partial
from typing import Any, Final, NamedTuple, TypeVar

import asyncpg

from services.chassis.postgres.pool import Database
from services.sessions import statements as sql
from services.sessions.rows import Connection, Session, Subscription
from services.sessions.state import State

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


class _Table(NamedTuple):
    name: str
    columns: list[str]
    upsert: str


_SESSIONS = _Table("sessions", sql.SESSION_COLUMNS.split(", "), sql.WRITE_SESSIONS)
_CONNECTIONS = _Table("connections", sql.CONNECTION_COLUMNS.split(", "), sql.WRITE_CONNECTIONS)
_SUBSCRIPTIONS = _Table("subscriptions", sql.SUBSCRIPTION_COLUMNS.split(", "), sql.WRITE_SUBSCRIPTIONS)

Statement = Callable[[], Coroutine[Any, Any, str]]


def writes(database: Database, state: State, fresh: Set[str]) -> Iterator[Statement]:
    """The statements that write the changed rows. The rows of each are made when it is taken from the iterator."""

    def table(
        table: _Table, changed: Iterable[K], is_new: Callable[[K], bool], values: Callable[[K], tuple[Any, ...]]
    ) -> Iterator[Statement]:
        new: list[K] = []
        others: list[K] = []
        for key in sorted(changed):
            (new if is_new(key) else others).append(key)
        if new:
            rows = [values(key) for key in new]
            yield partial(database.copy_records_to_table, table.name, records=rows, columns=table.columns)
        if others:
            yield partial(database.execute, table.upsert, *columns(map(values, others), len(table.columns)))

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


def columns(rows: Iterable[tuple[Any, ...]], width: int) -> list[list[Any]]:
    """The columns of these rows, as the arrays that the statements take; `width` of them if there is no row."""
    found = [list(column) for column in zip(*rows, strict=True)]
    return found or [[] for _ in range(width)]


def session_of(row: asyncpg.Record) -> Session:
    """A row of `sql.SESSION_COLUMNS`."""
    (id_, user, key, name, version, edge, instance, connection, count, opened, lineage, ended, away, code, reason,
     by, address) = row  # fmt: skip
    return Session(
        id_, user, key, name, version, edge, instance, connection, count, milliseconds(opened), lineage,
        _milliseconds(ended), _milliseconds(away), code, reason, by, address,
    )  # fmt: skip


def _session_values(row: Session) -> tuple[Any, ...]:
    return (
        row.id, row.user, row.session_key, row.client_name, row.client_version, row.edge, row.instance, row.connection,
        row.connections, moment(row.opened_at), row.lineage, _moment(row.ended_at), _moment(row.away_until),
        row.end_code, row.end_reason, row.end_by, row.address,
    )  # fmt: skip


def connection_of(row: asyncpg.Record) -> Connection:
    """A row of `sql.CONNECTION_COLUMNS`."""
    id_, session_id, edge, instance, opened, closed, code, reason, by = row
    return Connection(id_, session_id, edge, instance, milliseconds(opened), _milliseconds(closed), code, reason, by)


def _connection_values(row: Connection) -> tuple[Any, ...]:
    closed = _moment(row.closed_at)
    opened = moment(row.opened_at)
    return (
        row.id, row.session_id, row.edge, row.instance, opened, closed, row.close_code, row.close_reason, row.close_by,
    )  # fmt: skip


def subscription_of(row: asyncpg.Record) -> Subscription:
    """A row of `sql.SUBSCRIPTION_COLUMNS`."""
    connection, channel, opened, since, until, recovered = row
    return Subscription(connection, channel, milliseconds(opened), milliseconds(since), _milliseconds(until), recovered)


def _subscription_values(row: Subscription) -> tuple[Any, ...]:
    opened, since = moment(row.opened_at), moment(row.since)
    return row.connection, row.channel, opened, since, _moment(row.until), row.recovered
