"""The archive of the session log in PostgreSQL: messages as they were in the stream, by epoch and sequence.

A message is archived in the transaction that folds it, so the archive is complete up to the position. A row that was
rewritten, to erase a user, stands for the message: it is never written over.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from services.chassis.postgres.pool import Database
from services.sessions.entries import Entry, storable
from services.sessions.rows_postgres import columns, moment

# As many rows as a read of the log has messages. One may be there already: rewritten before it was folded.
_ARCHIVE: Final = """
INSERT INTO log_archive (epoch, sequence, stored_at, writer, data)
SELECT $1, m.* FROM unnest($2::bigint[], $3::timestamptz[], $4::text[], $5::bytea[]) AS m
ON CONFLICT (epoch, sequence, stored_at) DO NOTHING"""


async def archive(database: Database, epoch: str, entries: Sequence[Entry]) -> None:
    """Archives these messages of one epoch, within a transaction of the caller."""
    rows = [(one.sequence, moment(one.stored_at), storable(one.writer), one.data) for one in entries]
    await database.execute(_ARCHIVE, epoch, *columns(rows, 4))
