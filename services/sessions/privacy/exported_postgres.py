"""The rows of the read models that are about a user, as JSON, a few at a time."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final

from services.chassis.postgres.pool import Pool
from services.sessions.erasing_postgres import portions
from services.sessions.privacy.person import Person
from services.sessions.privacy.tables_postgres import CONNECTIONS

_PREFETCH: Final = 256

_OF_USER: Final = "SELECT to_jsonb(t)::text FROM {table} t WHERE t.user_id = $1 ORDER BY {order}"
_OF_CONNECTIONS: Final = """
SELECT to_jsonb(t)::text FROM {table} t WHERE t.{column} = ANY($1::text[]){more} ORDER BY {order}"""
# A subscription without an end of its own ended with its connection.
_SUBSCRIPTIONS: Final = """
SELECT (to_jsonb(t) || jsonb_build_object('until', COALESCE(t.until, (
    SELECT c.closed_at FROM connections c WHERE c.id = t.connection AND c.opened_at = t.opened_at))))::text
FROM subscriptions t WHERE t.connection = ANY($1::text[]) ORDER BY t.since, t.connection, t.channel"""
_OF_DIGEST: Final = "SELECT to_jsonb(t)::text FROM erasures t WHERE t.user_digest = $1"

_QUERIES: Final = {
    "sessions": _OF_USER.format(table="sessions", order="opened_at, id"),
    "devices": _OF_USER.format(table="user_devices", order="first_seen, session_key, client_name, client_version"),
    "refusals": _OF_USER.format(table="refusals", order="at, number"),
}
_QUERIES_OF_CONNECTIONS: Final = {
    "connections": _OF_CONNECTIONS.format(table="connections", column="id", more="", order="opened_at, id"),
    "subscriptions": _SUBSCRIPTIONS,
    "timeline": _OF_CONNECTIONS.format(table="timeline", column="connection", more="", order="at, connection, number"),
    "refusals": _OF_CONNECTIONS.format(
        table="refusals",
        column="connection",
        more=" AND t.user_id = '' AND t.connection <> ''",
        order="at, number",
    ),
}


class ExportedRows:
    """Raises `StoreAway`."""

    def __init__(self, pool: Pool, person: Person) -> None:
        self._pool = pool
        self._person = person

    async def all(self) -> AsyncIterator[tuple[str, str]]:
        """Every row, with the name of its store; all as they were at one moment."""
        async with (
            self._pool.database() as database,
            database.transaction(isolation="repeatable_read", readonly=True),
        ):
            for store, query in _QUERIES.items():
                async for row in database.cursor(query, self._person.stored, prefetch=_PREFETCH):
                    yield store, row[0]
            connections = [row[0] for row in await database.fetch(CONNECTIONS, self._person.stored)]
            for some in portions(connections):
                for store, query in _QUERIES_OF_CONNECTIONS.items():
                    async for row in database.cursor(query, some, prefetch=_PREFETCH):
                        yield store, row[0]
            async for row in database.cursor(_OF_DIGEST, self._person.digest):
                yield "erasures", row[0]
