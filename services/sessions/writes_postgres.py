"""Writes the rows of a fold in bulk: the rows are made first, so that the fold may go on while they are written.

New rows are copied, which costs PostgreSQL far less than an upsert; stored rows are upserted; counts are added to the
stored ones.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator, Mapping, Set
from typing import Any, Final, NamedTuple, TypeVar

from services.chassis.postgres.pool import Database
from services.sessions import rows_postgres as rows
from services.sessions import statements as loading
from services.sessions import statements_writing as sql
from services.sessions.resident import Resident
from services.sessions.rows_postgres import arguments, moment

V = TypeVar("V")

C = TypeVar("C", bound=tuple[Any, ...])
"""The key of a count: its first two parts are the width and the beginning of a range of time."""

Values = tuple[Any, ...]


class _Table(NamedTuple):
    name: str
    columns: list[str]
    upsert: sql.Upsert


_SESSIONS: Final = _Table("sessions", loading.SESSION_COLUMNS.split(", "), sql.WRITE_SESSIONS)
_CONNECTIONS: Final = _Table("connections", loading.CONNECTION_COLUMNS.split(", "), sql.WRITE_CONNECTIONS)
_SUBSCRIPTIONS: Final = _Table("subscriptions", loading.SUBSCRIPTION_COLUMNS.split(", "), sql.WRITE_SUBSCRIPTIONS)
_TIMELINE: Final = _Table("timeline", sql.TIMELINE_COLUMNS.split(", "), sql.ADD_TO_TIMELINE)
_REFUSALS: Final = _Table("refusals", sql.REFUSAL_COLUMNS.split(", "), sql.Upsert("", ()))


Write = Callable[[Database], Coroutine[Any, Any, str]]
"""Writes rows that were made before."""


async def writes_of(state: Resident, copying: bool) -> list[Write]:
    """The functions that write the changed rows. The rows are made now, and other tasks have their turn meanwhile.
    `copying`: rows that are not known to be stored are new, and are copied. Otherwise some of them may exist already,
    and all are upserted."""
    made: list[Write] = []
    for write in _writes(state, copying):
        made.append(write)
        await asyncio.sleep(0)
    return made


def _writes(state: Resident, copying: bool) -> Iterator[Write]:
    known = state.known
    if state.removed:
        yield _executes(sql.REMOVE_SESSIONS, [list(state.removed)])
    if state.removed_connections:
        for statement in sql.REMOVE_CONNECTIONS:
            yield _executes(statement, [list(state.removed_connections)])
    yield from _split(_SESSIONS, state.changed_sessions, known, state.sessions, rows.values_of_session, copying)
    yield from _split(
        _CONNECTIONS, state.changed_connections, known, state.connections, rows.values_of_connection, copying
    )
    added, changed = state.subscriptions.added, state.subscriptions.changed
    if added and copying:
        yield _copies(_SUBSCRIPTIONS, [rows.values_of_subscription(row) for row in added.values()])
    else:
        changed = added | changed
    yield from _upserts(_SUBSCRIPTIONS.upsert, [rows.values_of_subscription(changed[key]) for key in sorted(changed)])
    told = [rows.values_of_timeline(entry) for entry in state.timeline.values()]
    if told and copying:
        yield _copies(_TIMELINE, told)
    else:
        yield from _upserts(_TIMELINE.upsert, told)
    if state.refusals:
        yield _copies(_REFUSALS, [rows.values_of_refusal(row) for row in state.refusals])
    # In the order of their keys, as two transactions that write the same rows could otherwise wait for each other.
    yield from _upserts(
        sql.ADD_USER_DEVICES, [rows.values_of_user_device(state.users[key]) for key in sorted(state.users)]
    )
    yield from _upserts(
        sql.WRITE_CHANNELS, [rows.values_of_channel(state.channels[key]) for key in sorted(state.changed_channels)]
    )
    lowered = [(name, moment(hour), peak) for (name, hour), peak in sorted(state.lowered_hours.items())]
    yield from _upserts(sql.LOWER_CHANNEL_HOURS, lowered)
    yield from _upserts(sql.LOWER_CHANNEL_DAYS, lowered)
    yield from _upserts(
        sql.ADD_CHANNEL_HOURS,
        [rows.values_of_channel_hour(state.channel_hours[key]) for key in sorted(state.channel_hours)],
    )
    yield from _upserts(sql.WRITE_EDGES, [rows.values_of_edge(state.edges[key]) for key in sorted(state.changed_edges)])
    yield from _upserts(sql.ADD_DROPS, _counts(state.drops))
    yield from _upserts(sql.ADD_OPENINGS, _counts(state.openings))
    yield from _upserts(sql.ADD_REFUSAL_COUNTS, _counts(state.refusal_counts))


def _split(
    table: _Table,
    changed: Set[str],
    known: Set[str],
    rows: Mapping[str, V],
    values: Callable[[V], Values],
    copying: bool,
) -> Iterator[Write]:
    """Copies the rows that are new, and upserts the others."""
    new = sorted(changed - known) if copying else []
    if new:
        yield _copies(table, [values(rows[key]) for key in new])
    yield from _upserts(table.upsert, [values(rows[key]) for key in sorted(changed & known if copying else changed)])


def _copies(table: _Table, records: list[Values]) -> Write:
    async def copy(database: Database) -> str:
        return await database.copy_records_to_table(table.name, records=records, columns=table.columns)

    return copy


def _upserts(upsert: sql.Upsert, values: list[Values]) -> Iterator[Write]:
    if values:
        yield _executes(upsert.statement, arguments(values, upsert.types))


def _executes(statement: str, arguments: list[Any]) -> Write:
    async def execute(database: Database) -> str:
        return await database.execute(statement, *arguments)

    return execute


def _counts(counter: Counter[C]) -> list[Values]:
    """The counts to add, as columns have them: with a time, and the width in seconds."""
    return [(width // 1000, moment(at), *rest, count) for (width, at, *rest), count in sorted(counter.items()) if count]
