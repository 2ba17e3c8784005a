"""The archive of the session log in PostgreSQL: messages as they were in the stream, by epoch and sequence.

A message is archived in the transaction that folds it, so the archive is complete up to the position. A row that was
rewritten, to erase a user, stands for the message: it is never written over.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from services.chassis.postgres.pool import Database, Pool
from services.sessions.entries import Entry, storable
from services.sessions.rows_postgres import columns, milliseconds, moment

_COUNT_TIMEOUT_S: Final = 600.0

# As many rows as a read of the log has messages. One may be there already: rewritten before it was folded.
_ARCHIVE: Final = """
INSERT INTO log_archive (epoch, sequence, stored_at, writer, data)
SELECT $1, m.* FROM unnest($2::bigint[], $3::timestamptz[], $4::text[], $5::bytea[]) AS m
ON CONFLICT (epoch, sequence, stored_at) DO NOTHING"""

_EPOCHS: Final = """
SELECT epoch, min(sequence), max(sequence), min(stored_at), count(*) FROM log_archive GROUP BY epoch
ORDER BY min(stored_at), epoch"""

_PAGE: Final = """
SELECT sequence, stored_at, writer, data FROM log_archive WHERE epoch = $1 AND sequence BETWEEN $2 AND $3
ORDER BY sequence LIMIT $4"""


class ArchivedEpoch(NamedTuple):
    """What is archived of one epoch of the log: its first and last sequence, when the first was stored (Unix
    milliseconds), and the number of messages."""

    epoch: str
    first: int
    last: int
    first_at: int
    messages: int


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
            rows = await database.fetch(_EPOCHS, timeout=_COUNT_TIMEOUT_S)
        return [ArchivedEpoch(row[0], row[1], row[2], milliseconds(row[3]), row[4]) for row in rows]

    async def page(self, epoch: str, first: int, last: int, limit: int) -> list[ArchivedMessage]:
        """At most `limit` messages of an epoch with sequences from `first` to `last` (inclusive), in order."""
        async with self._pool.database() as database:
            rows = await database.fetch(_PAGE, epoch, first, last, limit)
        return [ArchivedMessage(row[0], milliseconds(row[1]), row[2], row[3]) for row in rows]
