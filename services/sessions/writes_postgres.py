"""Writes the rows of a fold in bulk.

New rows are copied, which costs PostgreSQL far less than an upsert; rows that were loaded are upserted; counts are
added to those that are stored.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Iterator, Set
from functools import partial
from typing import Any, Final, NamedTuple, TypeVar

from services.chassis.postgres.pool import Database
from services.sessions import rows_postgres as rows
from services.sessions import statements as loading
from services.sessions import statements_writing as sql
from services.sessions.rows_postgres import columns, moment
from services.sessions.state import State

K = TypeVar("K", str, tuple[str, str])
"""The key of a row."""

C = TypeVar("C", bound=tuple[Any, ...])
"""What is counted by: its first two parts are the width and the beginning of a time."""

Values = tuple[Any, ...]
Statement = Callable[[], Coroutine[Any, Any, str]]


class _Table(NamedTuple):
    name: str
    columns: list[str]
    upsert: str


_SESSIONS: Final = _Table("sessions", loading.SESSION_COLUMNS.split(", "), sql.WRITE_SESSIONS)
_CONNECTIONS: Final = _Table("connections", loading.CONNECTION_COLUMNS.split(", "), sql.WRITE_CONNECTIONS)
_SUBSCRIPTIONS: Final = _Table("subscriptions", loading.SUBSCRIPTION_COLUMNS.split(", "), sql.WRITE_SUBSCRIPTIONS)
_TIMELINE: Final = _Table("timeline", sql.TIMELINE_COLUMNS.split(", "), sql.ADD_TO_TIMELINE)
_REFUSALS: Final = sql.REFUSAL_COLUMNS.split(", ")


class Fresh(NamedTuple):
    """What is not in the tables yet: connections (and sessions of these names), and subscriptions. None is, if
    `copying` is False: rows may be there that should not, so all are upserted."""

    connections: Set[str]
    subscriptions: Set[tuple[str, str]]
    copying: bool = True


async def write(database: Database, state: State, fresh: Fresh) -> None:
    """Writes all changes of `state`. The rows of each statement are made while PostgreSQL executes the one before."""
    at_work: asyncio.Task[str] | None = None
    try:
        for statement in _statements(database, state, fresh):
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


def _statements(database: Database, state: State, fresh: Fresh) -> Iterator[Statement]:
    """The statements that write the changed rows. The rows of each are made when it is taken from the iterator."""

    def upsert(statement: str, values: Iterable[Values]) -> Iterator[Statement]:
        found = columns(values, 0)
        if found:
            yield partial(database.execute, statement, *found)

    def split(table: _Table, changed: Iterable[K], new: Set[K], values: Callable[[K], Values]) -> Iterator[Statement]:
        copied = [values(key) for key in sorted(changed) if key in new]
        if copied:
            yield partial(database.copy_records_to_table, table.name, records=copied, columns=table.columns)
        yield from upsert(table.upsert, [values(key) for key in sorted(changed) if key not in new])

    if state.removed:
        yield partial(database.execute, sql.REMOVE_SESSIONS, list(state.removed))
    sessions, connections, subscriptions = state.sessions, state.connections, state.subscriptions
    yield from split(
        _SESSIONS, state.changed_sessions, fresh.connections, lambda key: rows.values_of_session(sessions[key])
    )
    yield from split(
        _CONNECTIONS,
        state.changed_connections,
        fresh.connections,
        lambda key: rows.values_of_connection(connections[key]),
    )
    yield from split(
        _SUBSCRIPTIONS,
        state.changed_subscriptions,
        fresh.subscriptions,
        lambda key: rows.values_of_subscription(subscriptions[key]),
    )
    told = [rows.values_of_timeline(entry) for entry in state.timeline.values()]
    if told and fresh.copying:
        yield partial(database.copy_records_to_table, _TIMELINE.name, records=told, columns=_TIMELINE.columns)
    else:
        yield from upsert(_TIMELINE.upsert, told)
    if state.refusals:
        refused = [rows.values_of_refusal(row) for row in state.refusals]
        yield partial(database.copy_records_to_table, "refusals", records=refused, columns=_REFUSALS)
    # In the order of their keys, as two that write the same rows would otherwise wait for each other.
    yield from upsert(
        sql.ADD_USER_DEVICES, [rows.values_of_user_device(state.users[key]) for key in sorted(state.users)]
    )
    yield from upsert(
        sql.WRITE_CHANNELS,
        [rows.values_of_channel(state.channels[key]) for key in sorted(state.changed_channels)],
    )
    yield from upsert(
        sql.ADD_CHANNEL_HOURS,
        [rows.values_of_channel_hour(state.channel_hours[key]) for key in sorted(state.channel_hours)],
    )
    yield from upsert(sql.WRITE_EDGES, [rows.values_of_edge(state.edges[key]) for key in sorted(state.changed_edges)])
    yield from upsert(sql.ADD_DROPS, _counts(state.drops))
    yield from upsert(sql.ADD_OPENINGS, _counts(state.openings))
    yield from upsert(sql.ADD_REFUSAL_COUNTS, _counts(state.refusal_counts))


def _counts(counter: Counter[C]) -> list[Values]:
    """What is to be added, with the time as a column has it; the width in seconds."""
    return [(width // 1000, moment(at), *rest, count) for (width, at, *rest), count in sorted(counter.items()) if count]


async def erase(database: Database, digests: list[str], at: int) -> None:
    """Deletes what is stored of the users with these digests, and remembers them. `at` is in Unix milliseconds."""
    found = [row["user_id"] for row in await database.fetch(sql.USERS_OF_DIGESTS, digests)]
    for statement in sql.ERASE:
        await database.execute(statement, found)
    await database.execute(sql.REMEMBER_ERASURES, digests, [moment(at)] * len(digests))
