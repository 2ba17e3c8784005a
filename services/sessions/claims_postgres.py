"""Keeps apart two kinds of work that must not run at once: rebuilding read models, and erasing users.

A rebuild may have read facts that an erasure then takes out of the log, and its swap would bring them back. Several
rebuilds may run at once, and so may several erasures. Each shares the lock of its kind, and then checks whether the
lock of the other kind is held: of two that begin at the same moment, at least one notices the other.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import IntEnum
from typing import Final

from services.chassis.postgres.pool import Database, Pool

_SPACE: Final = 0x636C6D  # "clm": the first key of our advisory locks
_SHARE: Final = "SELECT set_config('idle_session_timeout', '0', false), pg_advisory_lock_shared($1, $2)"
"""A claim's connection is idle while the work goes on: PostgreSQL must not close it for that."""

_IS_HELD: Final = """
SELECT EXISTS (SELECT 1 FROM pg_locks l JOIN pg_database d ON d.oid = l.database AND d.datname = current_database()
    WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 2
    AND (l.classid::bigint, l.objid::bigint) = ($1::bigint, $2::bigint))"""


class Work(IntEnum):
    """The two kinds of work that exclude each other."""

    REBUILDING = 1
    ERASING = 2


class OthersWork(Exception):
    """Work of the other kind is in progress."""


class Claim:
    """A claim, held as long as its connection to PostgreSQL lasts."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def check(self) -> None:
        """Raises an error, which `claimed` turns into `StoreAway`, if the connection is gone: then work of the other
        kind may have begun."""
        await self._database.fetchval("SELECT 1")


@asynccontextmanager
async def claimed(pool: Pool, work: Work) -> AsyncIterator[Claim]:
    """While this lasts, work of the other kind does not begin. Takes a connection. Raises `OthersWork`, `StoreAway`."""
    other = Work.ERASING if work is Work.REBUILDING else Work.REBUILDING
    async with pool.database() as database:  # the lock is given back with the connection
        await database.execute(_SHARE, _SPACE, work)
        if await database.fetchval(_IS_HELD, _SPACE, other):
            raise OthersWork
        yield Claim(database)
