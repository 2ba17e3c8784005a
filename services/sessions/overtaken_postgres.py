"""What the log dropped before it was folded, in PostgreSQL: one row for each epoch of the log."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from services.chassis.postgres.pool import Database, Pool
from services.sessions.overtaken import Overtaken, OvertakenSoFar
from services.sessions.rows_postgres import milliseconds

_ARCHIVED: Final = "SELECT count(*) FROM log_archive WHERE epoch = $1 AND sequence BETWEEN $2 AND $3"

_KEEP: Final = """
INSERT INTO overtaken_messages AS o (epoch, messages, first, last, noticed_at) VALUES ($1, $2, $3, $4, now())
ON CONFLICT (epoch) DO UPDATE SET messages = o.messages + excluded.messages, first = LEAST(o.first, excluded.first),
    last = GREATEST(o.last, excluded.last), noticed_at = excluded.noticed_at"""

_ALL: Final = "SELECT messages, first, last, noticed_at FROM overtaken_messages ORDER BY noticed_at, epoch"


async def keep_overtaken(database: Database, epoch: str, stretches: Sequence[Overtaken]) -> int:
    """Remembers these in a transaction of the caller. Returns the number of their messages without the archived
    ones."""
    total = 0
    for one in stretches:
        lost = one.last - one.first + 1 - int(await database.fetchval(_ARCHIVED, epoch, one.first, one.last))
        if lost > 0:
            await database.execute(_KEEP, epoch, lost, one.first, one.last)
            total += lost
    return total


async def overtaken_so_far(pool: Pool) -> list[OvertakenSoFar]:
    """All that is remembered, by epoch. Raises `StoreAway`."""
    async with pool.database() as database:
        rows = await database.fetch(_ALL)
    return [OvertakenSoFar(row[0], row[1], row[2], milliseconds(row[3])) for row in rows]
