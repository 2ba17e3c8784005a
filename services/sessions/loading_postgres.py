"""Loads the rows that a fold may touch, and that the working set in memory lacks."""

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
from services.sessions.resident import MAX_CHANNELS_EACH, Resident
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

_KEYS: Final = 1_000
"""Connections whose open subscriptions are looked up by one statement."""

_RECENT_MS: Final = 15 * 60_000
"""Sessions that were opened within this time are loaded even if they have ended, for facts that come late."""

_ERASURES: Final = "SELECT user_digest, at FROM erasures"
_OPEN_SESSIONS: Final = f"SELECT {sql.SESSION_COLUMNS} FROM sessions WHERE ended_at IS NULL LIMIT $1"
_AWAY_SESSIONS: Final = (
    f"SELECT {sql.SESSION_COLUMNS} FROM sessions WHERE away_until >= $1 ORDER BY away_until LIMIT $2"
)
_RECENT_SESSIONS: Final = f"SELECT {sql.SESSION_COLUMNS} FROM sessions WHERE opened_at >= $1 LIMIT $2"
_NEWEST: Final = """
SELECT opened_at FROM sessions WHERE opened_at <= now() ORDER BY opened_at DESC, id DESC LIMIT 1"""
"""Sessions of the future come from a wrong clock."""
_OPEN_OF_USERS: Final = f"""
SELECT {", ".join(f"c.{name}" for name in sql.CONNECTION_COLUMNS.split(", "))}
FROM sessions s JOIN connections c ON c.session_id = s.id
WHERE s.user_id = ANY($1::text[]) AND c.closed_at IS NULL"""
_STORED: Final = "SELECT id FROM connections WHERE id = ANY(ARRAY(SELECT json_array_elements_text($1::json)))"
OPEN_SUBSCRIPTIONS: Final = f"""
SELECT {sql.SUBSCRIPTION_COLUMNS} FROM subscriptions
WHERE connection = ANY($1::text[]) AND {sql.END} = 'infinity' AND opened_at >= $2 AND opened_at <= $3"""
_BEGUN: Final = f"""
SELECT s.* FROM unnest($1::text[], $2::text[], $3::timestamptz[], $4::timestamptz[])
    AS b(connection, channel, since, opened_at)
CROSS JOIN LATERAL (
    SELECT {sql.SUBSCRIPTION_COLUMNS} FROM subscriptions
    WHERE channel = b.channel AND since = b.since AND connection = b.connection AND opened_at = b.opened_at
    OFFSET 0
) AS s"""
_CHANNELS: Final = f"SELECT {columns_of.CHANNEL_COLUMNS} FROM channels WHERE name = ANY($1::text[])"
_EDGES: Final = f"SELECT {columns_of.EDGE_COLUMNS} FROM edges WHERE instance = ANY($1::text[])"


async def load_erasures(database: Database, rows: Resident) -> None:
    """Loads the erasures: facts about these users must not be folded."""
    stored = await database.fetch(_ERASURES)
    rows.know_erasures({row["user_digest"]: milliseconds(row["at"]) for row in stored})


async def load_living(database: Database, rows: Resident, limit: int) -> bool:
    """Loads all sessions that are open, away, or were opened lately; for older ones only the open connections. False if
    there are more than `limit` of a kind, or too many subscriptions: then `rows` are of no use."""
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
            if rows.subscriptions.count > MAX_CHANNELS_EACH * limit:
                return False
    rows.has_all_since(since)
    return True


async def load(database: Database, rows: Resident, read_set: ReadSet, presuming: bool = False) -> None:
    """Loads the rows that the facts of `read_set` may touch. With `presuming`, connections that the facts open, and
    subscriptions that they begin, are presumed to be new, and not loaded: `stored_connections` tells whether such a
    connection is new, and the primary key keeps a subscription from being stored twice."""
    connections = await _connections(database, rows, read_set, presuming)
    missing = {one.session_id for one in connections} - rows.sessions.keys()
    sessions = [session_of(row) for row in await database.fetch(sql.SESSIONS, list(missing))] if missing else []
    _add_sessions(rows, sessions)
    await _add_connections(database, rows, connections)
    resumed = [one.id for one in sessions if one.ended_at is None and one.connections > 1]
    await _add_connections_of(database, rows, resumed, sql.OPEN_OF_SESSIONS)  # it goes on with one if another closes
    if read_set.erased:
        theirs = [one.id for one in rows.sessions.values() if one.user and user_digest(one.user) in read_set.erased]
        await _add_connections_of(database, rows, theirs)

    # While facts come in time, neither is true, and the sessions that may end need not be worked out.
    some_end_early, some_open_early = read_set.ends_before(rows.opened_since), read_set.opens_before(rows.away_since)
    ends = read_set.ends(rows) if some_end_early or some_open_early else []
    window = rows.resume_window_ms
    spans = [(key, moment(first), moment(last + window)) for key, first, last, _ in ends if first < rows.opened_since]
    if spans:
        later = list(map(session_of, await database.fetch(sql.LATER_SESSIONS, *columns(spans, 3))))
        _add_sessions(rows, later)
        await _add_connections_of(database, rows, [one.id for one in later])  # all change if absorbed
    if some_open_early:
        wanted = [
            (key, moment(first), moment(last), count)
            for key, first, last, count in read_set.returns(ends, rows)
            if first < rows.away_since
        ]
        away = await database.fetch(sql.AWAY_SESSIONS, *columns(wanted, 4))
        _add_sessions(rows, map(session_of, away))

    if closed := read_set.closed(rows):
        rows.visit(closed)
        await _add_open_subscriptions(database, rows, [rows.connections[name] for name in closed])
    if not presuming:
        begun = [
            (name, channel, moment(since), moment(rows.connections[name].opened_at))
            for name, channel, since in read_set.begun(rows)
        ]
        for row in await database.fetch(_BEGUN, *columns(begun, 4)):
            rows.subscriptions.put(subscription_of(row))
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
    """Adds the sessions that are not there yet, without their connections."""
    for session in sessions:
        if session.id not in rows.sessions:
            rows.add_session(session)


async def _add_connections_of(
    database: Database, rows: Resident, sessions: Sequence[str], which: str = sql.CONNECTIONS_OF_SESSIONS
) -> None:
    """Adds all connections of these sessions, or only the open ones."""
    if sessions:
        await _add_connections(database, rows, [connection_of(row) for row in await database.fetch(which, sessions)])


async def _add_connections(database: Database, rows: Resident, connections: Sequence[Connection]) -> None:
    """Adds the connections that are not there yet, with their open subscriptions, unless they closed for good."""
    new = [one for one in connections if one.id not in rows.connections]
    if not new:
        return
    for connection in new:
        rows.add_connection(connection)
    there = [one for one in new if (one.closed_at is None or one.was_lost) and one.id in rows.connections]
    await _add_open_subscriptions(database, rows, there)
    await _add_edges(database, rows, {one.instance for one in new})
    await asyncio.sleep(0)


async def _add_open_subscriptions(database: Database, rows: Resident, connections: Sequence[Connection]) -> None:
    """Adds the subscriptions that have not ended, a portion at a time: a connection may be in any number of
    channels."""
    for at in range(0, len(connections), _KEYS):
        some = connections[at : at + _KEYS]
        opened = [one.opened_at for one in some]
        asked = [one.id for one in some], moment(min(opened)), moment(max(opened))
        async with database.transaction():
            async for row in database.cursor(OPEN_SUBSCRIPTIONS, *asked, prefetch=_SLICE):
                rows.subscriptions.put(subscription_of(row))


async def _add_edges(database: Database, rows: Resident, instances: set[str]) -> None:
    missing = instances - rows.edges.keys()
    if missing:
        for row in await database.fetch(_EDGES, list(missing)):
            rows.edges[row["instance"]] = edge_of(row)
