"""Dead letters in PostgreSQL, beside the rows: set aside by the store, looked at and removed by an operator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import asyncpg

from services.chassis.postgres.pool import Database, Pool
from services.sessions.entries import MAX_LETTERS, DeadLetter, with_room
from services.sessions.rows_postgres import columns, milliseconds

# A message has one letter: if some of its facts were unreadable, and the others could not be folded either, the second
# letter, which has all of them, replaces the first.
_PUT_ASIDE: Final = """
INSERT INTO dead_letters (epoch, sequence, instance, reason, data, size, newer, put_aside_at)
SELECT l.*, now()
FROM unnest($1::text[], $2::bigint[], $3::text[], $4::text[], $5::bytea[], $6::bigint[], $7::boolean[]) AS l
ON CONFLICT (epoch, sequence) DO UPDATE SET instance = excluded.instance, reason = excluded.reason,
    data = excluded.data, size = excluded.size, newer = excluded.newer"""

_NEWER: Final = "SELECT count(*) FROM dead_letters WHERE newer"

_LET_THE_OLDEST_GO: Final = """
DELETE FROM dead_letters WHERE (epoch, sequence) IN (
    SELECT epoch, sequence FROM dead_letters ORDER BY put_aside_at DESC, epoch DESC, sequence DESC OFFSET $1)"""

_REMOVE: Final = "DELETE FROM dead_letters WHERE epoch = $1 AND sequence = $2"
_REPLACE: Final = (
    "UPDATE dead_letters SET reason = $3, data = $4, size = $5, newer = $6 WHERE epoch = $1 AND sequence = $2"
)

_ALL: Final = """
SELECT epoch, sequence, instance, reason, ''::bytea, size, put_aside_at, newer FROM dead_letters
ORDER BY put_aside_at, epoch, sequence"""
_ONE: Final = """
SELECT epoch, sequence, instance, reason, data, size, put_aside_at, newer FROM dead_letters
WHERE epoch = $1 AND sequence = $2"""


async def put_aside(database: Database, letters: Sequence[DeadLetter]) -> int:
    """Stores the letters, within a transaction of the caller. Only the newest `MAX_LETTERS` of all letters stay.
    Returns how many letters found no room (`MAX_NEWER_LETTERS`)."""
    newer = await database.fetchval(_NEWER) if any(one.newer for one in letters) else 0
    kept = with_room(letters, newer)
    if kept:
        await database.execute(_PUT_ASIDE, *columns([(*one[:6], one.newer) for one in kept], 7))
        await database.execute(_LET_THE_OLDEST_GO, MAX_LETTERS)
    return len(letters) - len(kept)


async def take_out(database: Database, letter: DeadLetter, rest: DeadLetter | None) -> bool:
    """Removes the letter, or puts `rest` in its place, within a transaction of the caller. False if it is gone."""
    if rest is None:
        done = await database.execute(_REMOVE, letter.epoch, letter.sequence)
    else:
        values = rest.reason, rest.data, rest.size, rest.newer
        done = await database.execute(_REPLACE, letter.epoch, letter.sequence, *values)
    return not done.endswith(" 0")


class DeadLetters:
    """What an operator does with dead letters. Every method raises `StoreAway`."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def all(self) -> list[DeadLetter]:
        """All of them without their data, in the order in which they were set aside."""
        async with self._pool.database() as database:
            return [_letter(row) for row in await database.fetch(_ALL)]

    async def whole(self, letter: DeadLetter) -> DeadLetter | None:
        """A letter with its data, None if it is gone."""
        async with self._pool.database() as database:
            row = await database.fetchrow(_ONE, letter.epoch, letter.sequence)
        return None if row is None else _letter(row)

    async def delete(self, letters: Sequence[DeadLetter]) -> None:
        """Removes these letters for good."""
        async with self._pool.database() as database:
            await database.executemany(_REMOVE, [(one.epoch, one.sequence) for one in letters])


def _letter(row: asyncpg.Record) -> DeadLetter:
    epoch, sequence, instance, reason, data, size, at, newer = row
    return DeadLetter(epoch, sequence, instance, reason, data, size, milliseconds(at), newer)
