"""The outbox in the application's database, for relays: rows are taken in turns, each of which is one transaction.

A turn holds the advisory locks of some slots; each channel belongs to one slot. So one relay works on a channel at a
time. However a relay ends, PostgreSQL frees its slots, and the rows that it had not deleted are published again; by
their keys, each is published once.

Before a turn publishes, it marks its rows as tried, in a separate transaction. So rows that a relay leaves behind are
marked, and an edge that is asked to publish one learns how old its key is: the edge may have to look it up.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Final

from services.chassis.postgres.connector import Connector
from services.chassis.postgres.errors import StoreAway
from services.chassis.postgres.pool import Database, Pool, store_errors
from services.sessions.outbox.rows import MAX_CALL_BYTES, Refused, Row

SLOTS_OF_A_TURN: Final = 8
"""Slots of a turn, of the 64 in `outbox.sql`: the others are left to other workers and relays."""
ROWS_OF_A_SLOT: Final = 32
"""Rows of a slot in one turn, and so at most 256 rows in all."""
MARKING: Final = 2
"""Connections of the pool beside those of the turns: a turn marks its rows over another connection than its own."""
BYTES_OF_A_TURN: Final = 4 * 1024 * 1024
"""Bytes of data, which one last row may exceed."""
_FROZEN_S: Final = 20.0
"""A relay that is silent for this long within a turn loses its slots: its machine is frozen, or gone."""
_LOCKS: Final = 0x6661_6972  # "fair": the class of our advisory locks, which no other program is likely to use
_CHANNEL: Final = "fairlead_outbox"
_CONNECT_S: Final = 5.0
_ANSWER_S: Final = 15.0

_TAKE: Final = """
WITH waiting AS MATERIALIZED (
    SELECT slot FROM generate_series(0, 63) AS slots (slot)
    WHERE EXISTS (SELECT FROM fairlead_outbox o WHERE o.slot = slots.slot AND o.channel <> ALL ($2::text[]))
    ORDER BY random()
)
SELECT slot FROM waiting WHERE pg_try_advisory_xact_lock($1, slot) LIMIT $3"""

# A separate statement, after the locks, so that it does not see rows that the last holder of a slot has deleted.
_ROWS: Final = """
SELECT id, message_id::text, channel, CASE WHEN size <= $4 THEN data END, CASE WHEN size <= $4 THEN data_binary END,
    tags::text, extract(epoch FROM clock_timestamp() - created_at)::float8,
    extract(epoch FROM clock_timestamp() - tried_at)::float8
FROM (
    SELECT *, sum(size) OVER (ORDER BY id) - size AS before FROM (
        SELECT o.id, o.message_id, o.channel, o.data::text, o.data_binary, o.tags, o.created_at, o.tried_at,
            coalesce(octet_length(o.data::text), octet_length(o.data_binary))
                + coalesce(octet_length(o.tags::text), 0) AS size
        FROM unnest($1::int[]) AS mine (slot) CROSS JOIN LATERAL (
            SELECT * FROM fairlead_outbox WHERE slot = mine.slot AND channel <> ALL ($2::text[]) ORDER BY id LIMIT $3
        ) AS o
    ) AS sized
) AS summed
WHERE before < $5 ORDER BY id"""

_MARK: Final = "UPDATE fairlead_outbox SET tried_at = clock_timestamp() WHERE id = ANY ($1::bigint[])"
_UNMARK: Final = "UPDATE fairlead_outbox SET tried_at = NULL WHERE id = ANY ($1::bigint[])"
_DELETE: Final = "DELETE FROM fairlead_outbox WHERE id = ANY ($1::bigint[])"

_SET_ASIDE: Final = """
WITH refused AS (SELECT * FROM unnest($1::bigint[], $2::int[], $3::text[]) AS r (id, code, reason)),
gone AS (DELETE FROM fairlead_outbox o USING refused r WHERE o.id = r.id RETURNING o.*, r.code, r.reason)
INSERT INTO fairlead_outbox_set_aside (id, message_id, channel, data, data_binary, tags, created_at, code, reason)
SELECT id, message_id, channel, data, data_binary, tags, created_at, code, reason FROM gone"""

_OLDEST: Final = """
SELECT extract(epoch FROM clock_timestamp() - created_at)::float8 FROM fairlead_outbox ORDER BY id LIMIT 1"""


class Turn:
    """Rows of some slots, by id: those of a channel have to be published in this order."""

    def __init__(self, database: Database, rows: Sequence[Row]) -> None:
        self._database = database
        self.rows = rows

    async def settle(
        self, published: Sequence[Row], refused: Sequence[tuple[Row, Refused]], unsent: Sequence[Row]
    ) -> None:
        """Deletes the rows that are published, and sets aside those that cannot be, when the turn ends. Other rows
        wait: `unsent` are those that cannot have been published, in this turn or before."""
        if published:
            await self._database.execute(_DELETE, [row.id for row in published])
        if refused:
            ids, codes, reasons = zip(*((row.id, why.code, why.reason) for row, why in refused), strict=True)
            await self._database.execute(_SET_ASIDE, list(ids), list(codes), list(reasons))
        if unsent:
            await self._database.execute(_UNMARK, [row.id for row in unsent])


class OutboxTable:
    """The tables of `outbox.sql` at `url`, to which `pool` connects. Every method raises `StoreAway`.

    The pool must have `MARKING` connections more than there are turns at once.
    """

    def __init__(self, pool: Pool, url: str) -> None:
        self._pool = pool
        self._url = url

    async def check(self) -> None:
        """Raises `StoreAway` unless the tables are there."""
        async with self._pool.database() as database:
            found = await database.fetchval("SELECT to_regclass('fairlead_outbox_set_aside')::text")
        if found is None:
            raise StoreAway(
                "the database of outbox.url has no outbox: `python -m services.sessions outbox sql` prints it for a "
                "migration of the application, `outbox install` makes it"
            )

    @asynccontextmanager
    async def turn(self, but: Sequence[str]) -> AsyncIterator[Turn]:
        """A turn, which is one transaction: rows of slots that no other relay works on, of channels other than `but`.

        The turn has no rows if there is nothing to do.
        """
        async with self._pool.database() as database, database.transaction():
            taken = await database.fetch(_TAKE, _LOCKS, but, SLOTS_OF_A_TURN)
            if not taken:
                yield Turn(database, ())
                return
            await database.execute(f"SET LOCAL idle_in_transaction_session_timeout = '{_FROZEN_S * 1000:.0f}ms'")
            slots = [slot for (slot,) in taken]
            found = await database.fetch(_ROWS, slots, but, ROWS_OF_A_SLOT, MAX_CALL_BYTES, BYTES_OF_A_TURN)
            rows = [Row(*row) for row in found]
            await self._mark([row.id for row in rows if row.tried_s is None])
            yield Turn(database, rows)

    async def _mark(self, ids: Sequence[int]) -> None:
        """Marks rows that are about to be published. The mark must stay however the turn ends, so it is not in its
        transaction."""
        if ids:
            async with self._pool.database() as database:
                await database.execute(_MARK, ids)

    async def watch(self, committed: Callable[[], None], waited: Callable[[float], None], every_s: float) -> None:
        """Calls `committed` when a transaction with new rows has committed, and `waited` every `every_s` with the
        seconds since the oldest row was inserted, 0 without any. Does not return."""

        def heard(*_: object) -> None:
            committed()

        # A separate connection: one of the pool would be reset under the listener.
        with store_errors():
            database = await Connector(self._url).connect(timeout=_CONNECT_S, command_timeout=_ANSWER_S)
            try:
                await database.add_listener(_CHANNEL, heard)
                while True:
                    waited(max(0.0, await database.fetchval(_OLDEST) or 0.0))
                    await asyncio.sleep(every_s)
            finally:
                database.terminate()
