"""Loads into the working set what a fold may touch and memory does not have."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Final

from msgspec import json

from proto.events import user_digest
from services.chassis.postgres.pool import Database
from services.sessions import statements as sql
from services.sessions import statements_writing as columns_of
from services.sessions.erasing_postgres import users_of
from services.sessions.read_set import ReadSet
from services.sessions.resident import Resident
from services.sessions.rows import Connection, Session
from services.sessions.rows_postgres import (
    channel_of,
    columns,
    connection_of,
    edge_of,
    milliseconds,
    moment,
    session_of,
    subscription_of,
)

_SLICE: Final = 10_000
"""Rows that are loaded at once, so that others have their turn."""

_RECENT_MS: Final = 15 * 60_000
"""How old the sessions are that are loaded though they have ended: for facts that come late."""

_ERASURES: Final = "SELECT user_digest, at FROM erasures"
_OPEN_SESSIONS: Final = f"SELECT {sql.SESSION_COLUMNS} FROM sessions WHERE ended_at IS NULL LIMIT $1"
_AWAY_SESSIONS: Final = (
    f"SELECT {sql.SESSION_COLUMNS} FROM sessions WHERE away_until >= $1 ORDER BY away_until LIMIT $2"
)
_RECENT_SESSIONS: Final = f"SELECT {sql.SESSION_COLUMNS} FROM sessions WHERE opened_at >= $1 LIMIT $2"
_NEWEST: Final = """
SELECT opened_at FROM sessions WHERE opened_at <= now() ORDER BY opened_at DESC, id DESC LIMIT 1"""
"""Of the future are those of a clock that is wrong."""
_OPEN_OF_USERS: Final = f"""
SELECT {", ".join(f"c.{name}" for name in sql.CONNECTION_COLUMNS.split(", "))}
FROM sessions s JOIN connections c ON c.session_id = s.id
WHERE s.user_id = ANY($1::text[]) AND c.closed_at IS NULL"""
_STORED: Final = "SELECT id FROM connections WHERE id = ANY(ARRAY(SELECT json_array_elements_text($1::json)))"
_SUBSCRIPTIONS: Final = f"SELECT {sql.SUBSCRIPTION_COLUMNS} FROM subscriptions WHERE connection = ANY($1::text[])"
_CHANNELS: Final = f"SELECT {columns_of.CHANNEL_COLUMNS} FROM channels WHERE name = ANY($1::text[])"
_EDGES: Final = f"SELECT {columns_of.EDGE_COLUMNS} FROM edges WHERE instance = ANY($1::text[])"


async def load_erasures(database: Database, rows: Resident) -> None:
    """Loads whom no fact may be folded about."""
    stored = await database.fetch(_ERASURES)
    rows.know_erasures({row["user_digest"]: milliseconds(row["at"]) for row in stored})


async def load_living(database: Database, rows: Resident, limit: int) -> bool:
    """Loads all sessions that are open, away, or were opened lately; of older ones the connections that are open alone.
    False if there are more than `limit` of a kind: then nothing is loaded."""
    newest = await database.fetchval(_NEWEST)
    since = 0 if newest is None else max(0, milliseconds(newest) - _RECENT_MS)
    found = [
        await database.fetch(_OPEN_SESSIONS, limit + 1),
        await database.fetch(_AWAY_SESSIONS, moment(since), limit + 1),
        await database.fetch(_RECENT_SESSIONS, moment(since), limit + 1),
    ]
    if any(len(part) > limit for part in found):
        return False
    for part in found:
        for at in range(0, len(part), _SLICE):
            sessions = [session_of(row) for row in part[at : at + _SLICE]]
            _add_sessions(rows, sessions)
            await _add_connections_of(database, rows, [one.id for one in sessions if one.opened_at >= since])
            old = [one.id for one in sessions if one.opened_at < since]
            await _add_connections_of(database, rows, old, sql.OPEN_OF_SESSIONS)
    rows.has_all_since(since)
    return True


async def load(database: Database, rows: Resident, read_set: ReadSet, presuming: bool = False) -> None:
    """Loads what the facts of `read_set` may touch. `presuming`: but for connections that it opens, if they are new:
    whether that is so, `stored_connections` says."""
    connections = await _connections(database, rows, read_set, presuming)
    missing = {one.session_id for one in connections} - rows.sessions.keys()
    sessions = [session_of(row) for row in await database.fetch(sql.SESSIONS, list(missing))] if missing else []
    _add_sessions(rows, sessions)
    await _add_connections(database, rows, connections)
    if read_set.erased:
        theirs = [one.id for one in rows.sessions.values() if one.user and user_digest(one.user) in read_set.erased]
        await _add_connections_of(database, rows, theirs)

    # Neither is so while facts come in time: then nothing is worked out of what may end.
    some_end_early, some_open_early = read_set.ends_before(rows.opened_since), read_set.opens_before(rows.away_since)
    ends = read_set.ends(rows) if some_end_early or some_open_early else []
    window = rows.resume_window_ms
    spans = [(key, moment(first), moment(last + window)) for key, first, last, _ in ends if first < rows.opened_since]
    if spans:
        later = list(map(session_of, await database.fetch(sql.LATER_SESSIONS, *columns(spans, 3))))
        _add_sessions(rows, later)
        await _add_connections_of(database, rows, [one.id for one in later])  # who absorbs them changes all of these
    if some_open_early:
        wanted = [
            (key, moment(first), moment(last), count)
            for key, first, last, count in read_set.returns(ends, rows)
            if first < rows.away_since
        ]
        away = await database.fetch(sql.AWAY_SESSIONS, *columns(wanted, 4))
        _add_sessions(rows, map(session_of, away))

    channels = read_set.channels(rows) - rows.channels.keys()
    if channels:
        for row in await database.fetch(_CHANNELS, list(channels)):
            rows.add_channel(channel_of(row))
    await _add_edges(database, rows, read_set.instances())


async def stored_connections(database: Database, names: Sequence[str]) -> set[str]:
    """Which of these connections are stored."""
    return {row["id"] for row in await database.fetch(_STORED, json.encode(names).decode())} if names else set()


async def _connections(database: Database, rows: Resident, read_set: ReadSet, presuming: bool) -> list[Connection]:
    """The connections that the facts name, and those that end with their edge or with their user."""
    named = read_set.connections - read_set.opening if presuming else read_set.connections
    missing = named - rows.connections.keys()
    found: list[Connection] = []
    if missing or read_set.lost or read_set.found:
        asked = list(missing), list(read_set.lost), list(read_set.found)
        found += map(connection_of, await database.fetch(sql.CONNECTIONS_OF_BATCH, *asked))
    if read_set.erased:
        users = await users_of(database, read_set.erased)
        found += map(connection_of, await database.fetch(_OPEN_OF_USERS, list(users)))
    return [one for one in found if one.id not in rows.connections]


def _add_sessions(rows: Resident, sessions: Iterable[Session]) -> None:
    """Adds sessions without their connections, those that are not there yet."""
    for session in sessions:
        if session.id not in rows.sessions:
            rows.add_session(session)


async def _add_connections_of(
    database: Database, rows: Resident, sessions: Sequence[str], which: str = sql.CONNECTIONS_OF_SESSIONS
) -> None:
    """Adds all connections of these sessions, or those that are open."""
    if sessions:
        await _add_connections(database, rows, [connection_of(row) for row in await database.fetch(which, sessions)])


async def _add_connections(database: Database, rows: Resident, connections: Sequence[Connection]) -> None:
    """Adds connections with all their subscriptions, those that are not there yet."""
    new = [one for one in connections if one.id not in rows.connections]
    if not new:
        return
    for connection in new:
        rows.add_connection(connection)
    for row in await database.fetch(_SUBSCRIPTIONS, [one.id for one in new]):
        rows.add_subscription(subscription_of(row))
    await _add_edges(database, rows, {one.instance for one in new})
    await asyncio.sleep(0)


async def _add_edges(database: Database, rows: Resident, instances: set[str]) -> None:
    missing = instances - rows.edges.keys()
    if missing:
        for row in await database.fetch(_EDGES, list(missing)):
            rows.edges[row["instance"]] = edge_of(row)
