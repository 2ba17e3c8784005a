"""Connections to PostgreSQL, and which of its errors mean that it is unavailable."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from types import TracebackType
from typing import Any, Final, Self, TypeAlias, cast

import asyncpg

from services.chassis.postgres.connector import Connector
from services.chassis.postgres.errors import DataRefused, StoreAway
from services.chassis.postgres.states import advice, is_about_data, may_be_of_the_session

Database: TypeAlias = "asyncpg.pool.PoolConnectionProxy[asyncpg.Record]"

_CONNECT_TIMEOUT_S: Final = 5.0
_COMMAND_TIMEOUT_S: Final = 15.0
_CLOSE_TIMEOUT_S: Final = 0.4
_MAKESHIFT_S: Final = 10.0

_AWAY_ERRORS = (OSError, asyncpg.InterfaceError, asyncpg.InternalClientError)
_UNREACHABLE: Final = "08000"


@contextlib.contextmanager
def store_errors() -> Iterator[None]:
    """Turns PostgreSQL's and the driver's errors into `StoreAway`, with advice, or into its subclass `DataRefused` if
    the data are to blame. Other errors pass through."""
    try:
        yield
    except asyncpg.PostgresError as error:
        state = error.sqlstate or ""
        kind = DataRefused if is_about_data(state) else StoreAway
        raise kind(f"PostgreSQL: {first_line(error)} ({state}): {advice(state)}") from error
    except TimeoutError as error:
        raise StoreAway("PostgreSQL does not answer in time: see its load, its locks and its log") from error
    except _AWAY_ERRORS as error:
        raise StoreAway(f"PostgreSQL: {first_line(error)}: {advice(_UNREACHABLE)}") from error


def first_line(error: BaseException) -> str:
    """What an error says, without the details and hints on further lines."""
    return str(error).partition("\n")[0] or type(error).__name__


_SERVER_SETTINGS: Final = {"jit": "off"}
"""Queries take milliseconds, but have many partitions in their plans: compiling them would take seconds."""


class Pool:
    """At most `size` connections to `url`. They are made on demand, so that PostgreSQL may start later.

    `for_reading`: if `url` names several servers and none takes writes, another one will do; every `_MAKESHIFT_S` the
    pool looks again for a server that takes writes.

    An async context manager. It belongs to the event loop in which it was entered.
    """

    def __init__(self, url: str, size: int, for_reading: bool = False) -> None:
        self._url = url
        self._connector = Connector(url, for_reading)
        self._size = size
        self._pool: asyncpg.Pool[asyncpg.Record] | None = None

    async def __aenter__(self) -> Self:
        self._pool = await asyncpg.create_pool(
            self._url,
            connect=cast("Any", self._connector.connect),  # its stub knows only `asyncpg.connect` itself
            min_size=0,
            max_size=self._size,
            timeout=_CONNECT_TIMEOUT_S,
            command_timeout=_COMMAND_TIMEOUT_S,
            server_settings=_SERVER_SETTINGS,
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
                await pool.close()  # waits for connections that tasks are still releasing
        except (OSError, TimeoutError, asyncpg.InterfaceError, asyncpg.PostgresError):
            pool.terminate()  # transactions in progress are rolled back

    @contextlib.asynccontextmanager
    async def database(self) -> AsyncIterator[Database]:
        """A connection for a few statements. Raises `StoreAway`, including for errors of the statements.

        After an error that the connection's settings may have caused, all connections are made anew.
        """
        if self._pool is None:
            raise StoreAway("PostgreSQL: not started")
        with store_errors():
            if self._connector.takes_another(_MAKESHIFT_S):
                await self._pool.expire_connections()
            async with self._pool.acquire(timeout=_CONNECT_TIMEOUT_S) as database:
                try:
                    yield database
                except asyncpg.PostgresError as error:
                    if may_be_of_the_session(error.sqlstate or ""):
                        await self._pool.expire_connections()
                    raise
