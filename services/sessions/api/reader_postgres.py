"""Reads sessions from PostgreSQL, as the API returns them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Final

import asyncpg
from msgspec import structs

from services.chassis.postgres.pool import Database, Pool
from services.sessions.api.away_search_postgres import asks_for_away, of_away
from services.sessions.api.channel_search_postgres import all_of_channel, channel_to_search, of_channel
from services.sessions.api.filters import Filters
from services.sessions.api.sessions_sql import COLUMNS, MAX_NAMES, NAMES, Found, select
from services.sessions.api.views import ConnectionView, SessionDetail, SessionView, SubscriptionView
from services.sessions.queries.places import Place
from services.sessions.queries.reaches import EVER, REACHES, before
from services.sessions.statements import END, PLANNED_FOR_VALUES, PLANNED_ONCE

MAX_PARTS: Final = 1000
"""Connections, and subscriptions, in one answer."""

STATEMENT_S: Final = 3.0
"""How long a statement may take. With the right filters, all take less than a tenth of a second."""

# A session that was absorbed by another is still found by its id, which is also the id of one of the connections.
_FIND: Final = f"""
SELECT {COLUMNS} FROM sessions WHERE id = COALESCE((SELECT session_id FROM connections WHERE id = $1 LIMIT 1), $1)"""

# Reads the partitions of the session's own time, and of the day before it, as clocks of edges may differ.
_CONNECTIONS: Final = """
SELECT id, edge, instance, client_version, address, opened_at, closed_at, close_code, close_reason, close_by
FROM connections
WHERE session_id = $1 AND opened_at >= $3::timestamptz - '24:00:00'::interval
ORDER BY opened_at DESC, id DESC LIMIT $2"""

# A subscription without an end of its own ended with its connection. Subscriptions are looked up connection by
# connection: PostgreSQL guesses wrong, and would join with all stored subscriptions (ten million: 3 s). If a connection
# has very many, those are read that have not ended, or ended last: the index has them in this order.
_SUBSCRIPTIONS: Final = f"""
SELECT s.connection, s.channel, s.since, COALESCE(s.until, c.closed_at) AS until, s.recovered
FROM (
    SELECT id, opened_at, closed_at FROM connections
    WHERE session_id = $1 AND opened_at >= $3::timestamptz - '24:00:00'::interval
    ORDER BY opened_at DESC, id DESC LIMIT $2
) AS c CROSS JOIN LATERAL (
    SELECT connection, channel, since, until, recovered FROM subscriptions
    WHERE connection = c.id AND opened_at = c.opened_at ORDER BY {END} DESC LIMIT $2
) AS s
ORDER BY s.since DESC, s.connection, s.channel LIMIT $2"""


class TooSlow(Exception):
    """PostgreSQL did not find the answer within the time that a statement may take."""


class ReadPool(Pool):
    """Connections for questions. Each statement may take `statement_s` seconds, so none holds a connection for long."""

    def __init__(self, url: str, size: int, statement_s: float = STATEMENT_S) -> None:
        super().__init__(url, size, for_reading=True)
        self._statement_s = statement_s

    @asynccontextmanager
    async def database(self) -> AsyncIterator[Database]:
        """A read-only transaction with one snapshot, whose statements are planned for their values. Raises `TooSlow`,
        and `StoreAway`."""
        # The filters decide which index is right: a plan for any values would suit none.
        async with self._reading(PLANNED_FOR_VALUES) as database:
            yield database

    @asynccontextmanager
    async def by_name(self) -> AsyncIterator[Database]:
        """The same for statements that look up one thing by its id. Each is planned once for a connection, as planning
        for all partitions takes longer than looking into them."""
        async with self._reading(PLANNED_ONCE) as database:
            yield database

    @asynccontextmanager
    async def _reading(self, planned: str) -> AsyncIterator[Database]:
        async with super().database() as database:
            try:
                async with database.transaction(isolation="repeatable_read", readonly=True):
                    limit = f"SET LOCAL statement_timeout = {int(self._statement_s * 1000)}"
                    await database.execute(f"{limit}; {planned}")
                    yield database
            except asyncpg.QueryCanceledError as error:
                raise TooSlow from error

    @asynccontextmanager
    async def bare(self) -> AsyncIterator[Database]:
        """A connection for one short statement. Raises `StoreAway`."""
        async with super().database() as database:
            yield database


class SessionsReader:
    """Finds sessions. Every method raises `StoreAway`, and `TooSlow`."""

    def __init__(self, pool: ReadPool) -> None:
        self._pool = pool

    async def sessions(self, filters: Filters, limit: int, after: Place | None = None) -> list[SessionView]:
        """Up to `limit` sessions, newest first, from the place `after` on."""
        async with self._pool.database() as database:
            if (channel := channel_to_search(filters)) is not None:
                return [SessionView(**row) for row in await of_channel(database, channel, filters, limit, after)]
            if asks_for_away(filters):
                return [SessionView(**row) for row in await of_away(database, filters, limit, after)]
            found = await found_before(database, filters)
            rows: list[asyncpg.Record] = []
            for since in _beginnings(filters, after):
                query = select(structs.replace(filters, since=since), limit, after, found)
                rows = await database.fetch(query.sql, *query.values)
                if len(rows) >= limit:
                    break
            return [SessionView(**row) for row in rows]

    async def session(self, id_: str) -> SessionDetail | None:
        """The session with this id, or that of the connection with this id; None if there is neither."""
        async with self._pool.by_name() as database:
            row = await database.fetchrow(_FIND, id_)
            if row is None:
                return None
            values = row["id"], MAX_PARTS + 1, row["opened_at"]
            connections = await database.fetch(_CONNECTIONS, *values)
            subscriptions = await database.fetch(_SUBSCRIPTIONS, *values)
        return SessionDetail(
            **row,
            connections=[ConnectionView(**one) for one in connections[:MAX_PARTS]],
            subscriptions=[SubscriptionView(**one) for one in subscriptions[:MAX_PARTS]],
            truncated=max(len(connections), len(subscriptions)) > MAX_PARTS,
        )


def _beginnings(filters: Filters, after: Place | None) -> Sequence[datetime | None]:
    """From when on to look for sessions, one attempt after the other: the sessions of a moment may fill a page from the
    time shortly before it."""
    if filters.at is None or filters.user is not None:
        return (filters.since,)
    latest = filters.at if after is None else min(filters.at, after.at)
    first = EVER if filters.since is None else filters.since
    near = [since for reach in REACHES if (since := before(latest, reach)) > first]
    return (*near, filters.since)


async def found_before(database: Database, filters: Filters) -> Found:
    """What the statement for these filters needs to know."""
    names: list[str] = []
    if filters.client_version is not None and filters.client_name is None and not filters.of_few and not filters.at:
        names = [row["name"] for row in await database.fetch(NAMES)]
    found = await all_of_channel(database, filters)
    return found._replace(client_names=names if len(names) <= MAX_NAMES else ())
