"""Keeps apart what must not work at once: rebuilding read models, and erasing users.

A rebuild has read facts that an erasure takes out of the log meanwhile, and the swap would bring them back. Several
rebuilds may run at once, and several erasures. Each holds a lock of its kind, as others of the kind do, and then looks
for the other kind: of two that begin at the same moment at least one finds the other.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import IntEnum
from typing import Final

from services.chassis.postgres.pool import Database, Pool

_SPACE: Final = 0x636C6D  # "clm": the first key of our advisory locks
_SHARE: Final = "SELECT pg_advisory_lock_shared($1, $2)"
_IS_HELD: Final = """
SELECT EXISTS (SELECT 1 FROM pg_locks l JOIN pg_database d ON d.oid = l.database AND d.datname = current_database()
    WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 2
    AND (l.classid::bigint, l.objid::bigint) = ($1::bigint, $2::bigint))"""


class Work(IntEnum):
    """What is not done at once with the other."""

    REBUILDING = 1
    ERASING = 2


class OthersWork(Exception):
    """Work of the other kind is in progress."""


class Claim:
    """Held as long as its connection to PostgreSQL is there."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def check(self) -> None:
        """Notices that the connection is gone, after which work of the other kind may have begun: then this raises what
        `claimed` makes `StoreAway` of."""
        await self._database.fetchval("SELECT 1")


@asynccontextmanager
async def claimed(pool: Pool, work: Work) -> AsyncIterator[Claim]:
    """Work of the other kind does not begin meanwhile. Takes a connection. Raises `OthersWork`, `StoreAway`."""
    other = Work.ERASING if work is Work.REBUILDING else Work.REBUILDING
    async with pool.database() as database:  # the lock is given back with the connection
        await database.execute(_SHARE, _SPACE, work)
        if await database.fetchval(_IS_HELD, _SPACE, other):
            raise OthersWork
        yield Claim(database)
