"""Reads sessions with a server-side cursor: any number of them, in bounded memory, as they are at one moment."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Final

from services.sessions.api.filters import Filters
from services.sessions.api.reader_postgres import ReadPool, TooSlow, found_before
from services.sessions.api.sessions_sql import select
from services.sessions.api.views import SessionView

PORTION: Final = 500
"""Sessions that are in memory at a time."""

PORTION_S: Final = 30.0
"""How long a portion may take. The first one may have to sort."""

MAX_EXPORT_S: Final = 900.0
"""How long an export may take: as long as it reads, PostgreSQL cannot remove row versions that are replaced
meanwhile."""


class SessionsExport:
    """Reads sessions for exports, each export over its own connection of `pool`, each statement within `PORTION_S`."""

    def __init__(self, pool: ReadPool) -> None:
        self._pool = pool

    async def portions(self, filters: Filters) -> AsyncGenerator[list[SessionView], None]:
        """All sessions, newest first, in portions. Raises `TooSlow`, also after `MAX_EXPORT_S`; and `StoreAway`."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + MAX_EXPORT_S
        async with self._pool.database() as database:
            query = select(filters, None, None, await found_before(database, filters))
            cursor = await database.cursor(query.sql, *query.values)
            while rows := await cursor.fetch(PORTION, timeout=PORTION_S + 5):
                yield [SessionView(**row) for row in rows]
                if loop.time() > deadline:
                    raise TooSlow
