"""The queries of the read API to PostgreSQL."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final, NamedTuple

from services.chassis.postgres.pool import Pool
from services.sessions.views import ConnectionView, SessionDetail, SessionState, SessionView, SubscriptionView

MAX_PARTS: Final = 1000
"""Connections, and subscriptions, in one answer."""

_STATE: Final = """CASE WHEN ended_at IS NULL THEN 'open' WHEN away_until > now() THEN 'away' ELSE 'ended' END"""
_SESSION: Final = f"""
SELECT id, user_id AS user, session_key, client_name, client_version, {_STATE} AS state, edge, instance, connection,
    connections AS connection_count, opened_at, ended_at,
    CASE WHEN away_until > now() THEN away_until END AS away_until,
    end_code, end_reason
FROM sessions"""
_CONDITION: Final[dict[str, str]] = {
    "open": "ended_at IS NULL",
    "away": "ended_at IS NOT NULL AND away_until > now()",
    "ended": "ended_at IS NOT NULL AND away_until > now() IS NOT TRUE",
}

# A session that was absorbed by another is still found by its id, which is also the id of one of the connections.
_FIND: Final = f"{_SESSION} WHERE id = COALESCE((SELECT session_id FROM connections WHERE id = $1), $1)"

_CONNECTIONS: Final = """
SELECT id, edge, instance, opened_at, closed_at, close_code, close_reason FROM connections
WHERE session_id = $1 ORDER BY opened_at DESC, id DESC LIMIT $2"""

# A subscription without an end of its own ended with its connection.
_SUBSCRIPTIONS: Final = """
SELECT s.connection, s.channel, s.since, COALESCE(s.until, c.closed_at) AS until, s.recovered
FROM connections c JOIN subscriptions s ON s.connection = c.id
WHERE c.session_id = $1 ORDER BY s.since DESC, s.connection, s.channel LIMIT $2"""


class Place(NamedTuple):
    """Where a page ends: after the session `id`, which was opened at `opened_at`."""

    opened_at: datetime
    id: str


class PostgresReader:
    """Sessions, connections and subscriptions, as the API returns them. Every method raises `StoreAway`."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def sessions(
        self,
        limit: int,
        after: Place | None = None,
        state: SessionState | None = None,
        user: str | None = None,
        edge: str | None = None,
    ) -> list[SessionView]:
        """Up to `limit` sessions, newest first, that satisfy all conditions; None for no condition."""
        conditions, values = ["true"], list[Any]()

        def add(condition: str, *given: Any) -> None:
            places = [f"${len(values) + number}" for number in range(1, len(given) + 1)]
            conditions.append(condition.format(*places))
            values.extend(given)

        if state is not None:
            add(_CONDITION[state])
        if user is not None:
            add("user_id = {}", user)
        if edge is not None:
            add("edge = {}", edge)
        if after is not None:
            add("(opened_at, id) < ({}, {})", *after)
        where = " AND ".join(conditions)
        query = f"{_SESSION} WHERE {where} ORDER BY opened_at DESC, id DESC LIMIT {int(limit)}"
        async with self._pool.database() as database:
            return [SessionView(**row) for row in await database.fetch(query, *values)]

    async def session(self, id_: str) -> SessionDetail | None:
        """The session with this id, or that of the connection with this id; None if there is neither."""
        async with self._pool.database() as database, database.transaction(isolation="repeatable_read", readonly=True):
            row = await database.fetchrow(_FIND, id_)
            if row is None:
                return None
            connections = await database.fetch(_CONNECTIONS, row["id"], MAX_PARTS + 1)
            subscriptions = await database.fetch(_SUBSCRIPTIONS, row["id"], MAX_PARTS + 1)
        return SessionDetail(
            **row,
            connections=[ConnectionView(**one) for one in connections[:MAX_PARTS]],
            subscriptions=[SubscriptionView(**one) for one in subscriptions[:MAX_PARTS]],
            truncated=max(len(connections), len(subscriptions)) > MAX_PARTS,
        )
