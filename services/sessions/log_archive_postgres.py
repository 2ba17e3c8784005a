"""The archive of the session log in PostgreSQL: messages as they were in the stream, by epoch and sequence.

A message is archived in the transaction that folds it, so the archive is complete up to the position. A row that was
rewritten to erase a user replaces the message: it is never overwritten.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from services.chassis.postgres.pool import Database, Pool
from services.sessions.entries import Entry, storable
from services.sessions.rows_postgres import columns, milliseconds, moment

# As many rows as a read of the log has messages. A row may exist already, if its message was rewritten before the fold.
_ARCHIVE: Final = """
INSERT INTO log_archive (epoch, sequence, stored_at, writer, data)
SELECT $1, m.* FROM unnest($2::bigint[], $3::timestamptz[], $4::text[], $5::bytea[]) AS m
ON CONFLICT (epoch, sequence, stored_at) DO NOTHING"""

# Goes from epoch to epoch in the index, as the archive may be too large to be read as a whole.
_EPOCHS: Final = """
WITH RECURSIVE epochs(epoch) AS (
    (SELECT epoch FROM log_archive ORDER BY epoch LIMIT 1)
    UNION ALL
    SELECT (SELECT a.epoch FROM log_archive a WHERE a.epoch > epochs.epoch ORDER BY a.epoch LIMIT 1)
    FROM epochs WHERE epochs.epoch IS NOT NULL
)
SELECT f.epoch, f.sequence, l.sequence, f.stored_at FROM epochs
CROSS JOIN LATERAL (
    SELECT * FROM log_archive a WHERE a.epoch = epochs.epoch ORDER BY a.sequence LIMIT 1) AS f
CROSS JOIN LATERAL (
    SELECT a.sequence FROM log_archive a WHERE a.epoch = epochs.epoch ORDER BY a.sequence DESC LIMIT 1) AS l
ORDER BY f.stored_at, f.epoch"""

_PAGE: Final = """
SELECT sequence, stored_at, writer, data FROM log_archive WHERE epoch = $1 AND sequence BETWEEN $2 AND $3
ORDER BY sequence LIMIT $4"""


class ArchivedEpoch(NamedTuple):
    """What is archived of one epoch of the log: its first and last sequence, and when the first was stored (Unix
    milliseconds). There may be gaps in between."""

    epoch: str
    first: int
    last: int
    first_at: int


class ArchivedMessage(NamedTuple):
    """A message of the archive. `stored_at` is in Unix milliseconds."""

    sequence: int
    stored_at: int
    writer: str
    data: bytes


async def archive(database: Database, epoch: str, entries: Sequence[Entry]) -> None:
    """Archives these messages of one epoch, within a transaction of the caller."""
    rows = [(one.sequence, moment(one.stored_at), storable(one.writer), one.data) for one in entries]
    await database.execute(_ARCHIVE, epoch, *columns(rows, 4))


class LogArchive:
    """Reads the archive. Every method raises `StoreAway`."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def epochs(self) -> list[ArchivedEpoch]:
        """What is archived, the oldest epoch first."""
        async with self._pool.database() as database:
            rows = await database.fetch(_EPOCHS)
        return [ArchivedEpoch(row[0], row[1], row[2], milliseconds(row[3])) for row in rows]

    async def page(self, epoch: str, first: int, last: int, limit: int) -> list[ArchivedMessage]:
        """At most `limit` messages of an epoch with sequences from `first` to `last` (inclusive), in order."""
        async with self._pool.database() as database:
            rows = await database.fetch(_PAGE, epoch, first, last, limit)
        return [ArchivedMessage(row[0], milliseconds(row[1]), row[2], row[3]) for row in rows]
