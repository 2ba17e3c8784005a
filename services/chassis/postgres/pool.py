"""Connections to PostgreSQL, and which of its errors mean that it is unavailable."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from types import TracebackType
from typing import Final, TypeAlias

import asyncpg

from services.chassis.postgres.errors import StoreAway

Database: TypeAlias = "asyncpg.pool.PoolConnectionProxy[asyncpg.Record]"

_CONNECT_TIMEOUT_S: Final = 5.0
_COMMAND_TIMEOUT_S: Final = 15.0
_CLOSE_TIMEOUT_S: Final = 0.4

_AWAY_ERRORS = (OSError, TimeoutError, asyncpg.InterfaceError, asyncpg.PostgresConnectionError)
# Shutting down or starting, out of resources, connection, deadlock, lock; then what an operator must fix while the
# service waits: wrong credentials, no such database, no such table (not migrated yet).
_AWAY_STATES = ("57P", "53", "08", "40", "55P03", "28", "3D", "42P01")


@contextlib.contextmanager
def store_errors() -> Iterator[None]:
    """Turns errors of an unreachable, stopping, overloaded or unprepared server into `StoreAway`. Other errors pass."""
    try:
        yield
    except _AWAY_ERRORS as error:
        raise StoreAway(f"PostgreSQL: {str(error) or type(error).__name__}") from error
    except asyncpg.PostgresError as error:
        if (error.sqlstate or "").startswith(_AWAY_STATES):
            raise StoreAway(f"PostgreSQL: {error}") from error
        raise


class Pool:
    """At most `size` connections to `url`. They are made on demand, so that PostgreSQL may start later.

    An async context manager. It belongs to the event loop in which it was entered.
    """

    def __init__(self, url: str, size: int) -> None:
        self._url = url
        self._size = size
        self._pool: asyncpg.Pool[asyncpg.Record] | None = None

    async def __aenter__(self) -> Pool:
        self._pool = await asyncpg.create_pool(
            self._url,
            min_size=0,
            max_size=self._size,
            timeout=_CONNECT_TIMEOUT_S,
            command_timeout=_COMMAND_TIMEOUT_S,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pool, self._pool = self._pool, None
        if pool is None:
            return
        try:
            async with asyncio.timeout(_CLOSE_TIMEOUT_S):
                await pool.close()  # waits for connections that are being given back, by tasks that nobody awaits
        except (OSError, TimeoutError, asyncpg.InterfaceError, asyncpg.PostgresError):
            pool.terminate()  # transactions in progress are rolled back

    @contextlib.asynccontextmanager
    async def database(self) -> AsyncIterator[Database]:
        """A connection for a few statements. Raises `StoreAway`, also for such errors of the statements."""
        if self._pool is None:
            raise StoreAway("PostgreSQL: not started")
        with store_errors():
            async with self._pool.acquire(timeout=_CONNECT_TIMEOUT_S) as database:
                yield database
