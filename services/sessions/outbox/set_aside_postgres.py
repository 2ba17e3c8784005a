"""The rows of the outbox that were set aside, for operators; and the installation of the outbox."""

from __future__ import annotations

from typing import Final, NamedTuple

import asyncpg

from services.chassis.postgres.errors import StoreAway
from services.chassis.postgres.pool import Pool
from services.sessions.outbox.sql import OUTBOX_SQL

MAX_LISTED: Final = 10_000

_COLUMNS: Final = """
id, message_id::text, channel, code, reason, tags::text, extract(epoch FROM created_at)::float8,
extract(epoch FROM set_aside_at)::float8, coalesce(octet_length(data::text), octet_length(data_binary))"""
_ALL: Final = f"SELECT {_COLUMNS}, NULL, NULL FROM fairlead_outbox_set_aside ORDER BY id LIMIT $1"
_ONE: Final = f"SELECT {_COLUMNS}, data::text, data_binary FROM fairlead_outbox_set_aside WHERE id = $1"

# Keeps the key: if the row was published after all, and only the answer was lost, an edge ignores the repetition.
_REPLAY: Final = """
WITH gone AS (
    DELETE FROM fairlead_outbox_set_aside WHERE $1::bigint IS NULL OR id = $1 RETURNING *
), back AS (
    INSERT INTO fairlead_outbox (message_id, channel, data, data_binary, tags)
    SELECT message_id, channel, data, data_binary, tags FROM gone ORDER BY id RETURNING id
) SELECT count(*) FROM back"""
_DELETE: Final = """
WITH gone AS (DELETE FROM fairlead_outbox_set_aside WHERE $1::bigint IS NULL OR id = $1 RETURNING id)
SELECT count(*) FROM gone"""

_IS_WHOLE: Final = """
SELECT to_regclass('fairlead_outbox') IS NOT NULL AND to_regclass('fairlead_outbox_slot') IS NOT NULL
    AND to_regclass('fairlead_outbox_set_aside') IS NOT NULL
    AND to_regprocedure('fairlead_publish(text, jsonb, jsonb)') IS NOT NULL
    AND EXISTS (
        SELECT FROM pg_trigger WHERE tgrelid = to_regclass('fairlead_outbox') AND tgname = 'fairlead_outbox_notify'
    )"""


class Aside(NamedTuple):
    """A row that was set aside. Times are Unix time in seconds; `data` and `binary` are None in a list."""

    id: int
    message_id: str
    channel: str
    code: int
    reason: str
    tags: str | None
    created_at: float
    set_aside_at: float
    size: int
    data: str | None
    binary: bytes | None


class SetAside:
    """What an operator does with these rows; `which` is an id, None for all. Every method raises `StoreAway`."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def all(self) -> list[Aside]:
        """The first `MAX_LISTED` of them by id, without their data."""
        async with self._pool.database() as database:
            return [Aside(*row) for row in await database.fetch(_ALL, MAX_LISTED)]

    async def whole(self, which: int) -> Aside | None:
        """One of them with its data, None if there is none."""
        async with self._pool.database() as database:
            row = await database.fetchrow(_ONE, which)
        return None if row is None else Aside(*row)

    async def replay(self, which: int | None) -> int:
        """Puts rows back to be published, as new ones with their old keys. Returns how many."""
        return await self._count(_REPLAY, which)

    async def delete(self, which: int | None) -> int:
        """Removes rows for good. Returns how many."""
        return await self._count(_DELETE, which)

    async def _count(self, statement: str, which: int | None) -> int:
        async with self._pool.database() as database:
            found: int = await database.fetchval(statement, which)
        return found

    async def install(self) -> None:
        """Makes the tables. If everything exists already, nothing changes, so any user may call this, and a trigger
        that was switched off stays off."""
        try:
            async with self._pool.database() as database, database.transaction():
                if not await database.fetchval(_IS_WHOLE):
                    await database.execute(OUTBOX_SQL)
        except StoreAway as error:
            if isinstance(error.__cause__, asyncpg.InsufficientPrivilegeError):
                raise StoreAway(
                    f"PostgreSQL: {error.__cause__}: the user of outbox.url may not make the outbox: install it as the "
                    "owner of the application's tables (give FAIRLEAD_OUTBOX_URL for this command), or run what "
                    "`outbox sql` prints as a migration"
                ) from error.__cause__
            raise
