"""Finds the sessions that are away now, newest first.

They are few, unless an edge with many clients dies: all of them are read, by `away_until`. If they are many, a page is
looked for among the newest sessions first, in the order of the answer.
"""

from __future__ import annotations

from typing import Any, Final

from services.chassis.postgres.pool import Database
from services.sessions.api.filters import Filters
from services.sessions.api.sessions_sql import Found, select
from services.sessions.queries.places import Place

MANY: Final = 20_000
"""If more sessions than this are away, a page is first looked for among as many of the newest sessions."""

_ARE_MANY: Final = "SELECT true FROM sessions WHERE away_until > now() ORDER BY away_until OFFSET $1 LIMIT 1"


def asks_for_away(filters: Filters) -> bool:
    """Whether to begin with the sessions that are away. Not if the filters name a user, who has few sessions."""
    return filters.state == "away" and not filters.of_few


async def of_away(database: Database, filters: Filters, limit: int, after: Place | None) -> list[Any]:
    """Up to `limit` sessions that are away, from the place `after` on."""
    if await database.fetchval(_ARE_MANY, MANY):
        query = select(filters, limit, after, Found(newest=MANY))
        rows: list[Any] = await database.fetch(query.sql, *query.values)
        if len(rows) >= limit:
            return rows
    query = select(filters, limit, after)
    return await database.fetch(query.sql, *query.values)
