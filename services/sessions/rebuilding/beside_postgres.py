"""A schema beside the live one, with the same tables, made by the same migrations. Its maker removes it at its end.

Its name begins with `PREFIX`. The maker holds an advisory lock on this name: a schema whose lock is free was left
behind by a killed process. The next rebuild or comparison removes it, or any process that finds it before and has the
rights of its owner. Processes that remove it share the lock, so that each returns only when it is gone.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Final, NamedTuple, TypeAlias
from urllib.parse import parse_qsl, urlencode, urlsplit

import asyncpg

from services.chassis.postgres.connector import Connector
from services.chassis.postgres.errors import StoreAway
from services.chassis.postgres.pool import Database, store_errors
from services.sessions.schema_postgres import SCHEMA

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record] | Database"

PREFIX: Final = "fairlead_beside_"

_USED_EVERY_S: Final = 60.0
"""How often the connection that holds the lock is used: more often than the service looks for schemas that were left
behind."""

_CONNECT_TIMEOUT_S: Final = 10.0
_DROP_TIMEOUT_S: Final = 120.0
_LACKS_RIGHT: Final = "42501"
_LOST: Final = "the connection that keeps the tables beside broke, see PostgreSQL's log: run the command again"

_LOCK: Final = "SELECT pg_try_advisory_lock(hashtextextended($1, 0))"
_UNLOCK: Final = "SELECT pg_advisory_unlock(hashtextextended($1, 0))"
_LOCK_LEFT_BEHIND: Final = "SELECT pg_try_advisory_lock_shared(hashtextextended($1, 0))"
_UNLOCK_LEFT_BEHIND: Final = "SELECT pg_advisory_unlock_shared(hashtextextended($1, 0))"
_OURS: Final = """
SELECT nspname FROM pg_namespace WHERE starts_with(nspname, $1) AND pg_has_role(nspowner, 'USAGE') ORDER BY 1"""
_LIVE: Final = "SELECT relnamespace::regnamespace::text FROM pg_class WHERE oid = to_regclass('projections')"
_ERASURES: Final = "INSERT INTO {beside}.erasures SELECT * FROM {live}.erasures"


class Beside(NamedTuple):
    """The two schemas, quoted for SQL, and the URL for connections whose `search_path` is the schema beside."""

    live: str
    beside: str
    url: str


def url_in(url: str, schema: str) -> str:
    """`url`, for connections whose tables are those of `schema`. A crash of PostgreSQL may lose their last commits."""
    parts = urlsplit(url)
    options = {**dict(parse_qsl(parts.query)), "search_path": schema, "synchronous_commit": "off"}
    return parts._replace(query=urlencode(options)).geturl()


@asynccontextmanager
async def schema_beside(url: str, used_every_s: float = _USED_EVERY_S) -> AsyncIterator[Beside]:
    """Makes a schema with empty tables, and removes it at the end, with everything that is still in it. Raises
    `StoreAway`, also in the middle of the caller's work if the lock is lost, so that others may remove the schema."""
    name = PREFIX + secrets.token_hex(6)
    with store_errors():
        database = await Connector(url).connect(timeout=_CONNECT_TIMEOUT_S, command_timeout=_DROP_TIMEOUT_S)
    try:
        with store_errors():
            live = await _make(database, name)
        try:
            beside = Beside(live, name, url_in(url, name))
            await SCHEMA.migrate(beside.url)
            with store_errors():
                await database.execute(_ERASURES.format(beside=name, live=live))
            async with _kept(database, used_every_s):
                yield beside
        finally:
            with suppress(OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
                await _finish(_give_up(database, name))  # otherwise the next command does it
    finally:
        with suppress(OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
            await database.close(timeout=5)


async def _make(database: asyncpg.Connection[asyncpg.Record], name: str) -> str:
    """Makes the schema, and removes those that were left behind. Returns the live schema's name."""
    live: str | None = await database.fetchval(_LIVE)
    assert live is not None, "the revision was checked"
    await remove_left_behind(database)
    await database.fetchval(_LOCK, name)
    try:
        await database.execute(f"CREATE SCHEMA {name}")
    except asyncpg.InsufficientPrivilegeError as error:
        what = "GRANT CREATE ON DATABASE to the user of postgres.url: the new tables are made in a schema beside"
        raise StoreAway(f"PostgreSQL: {error} ({_LACKS_RIGHT}): {what}") from error
    return live


@asynccontextmanager
async def _kept(database: asyncpg.Connection[asyncpg.Record], every_s: float) -> AsyncIterator[None]:
    """Uses the connection now and then. If it breaks, its lock is free: then the caller's work ends with
    `StoreAway`."""
    broken: list[StoreAway] = []

    async def use() -> None:
        try:
            while True:
                await asyncio.sleep(every_s)
                with store_errors():
                    await database.execute("SELECT 1")
        except StoreAway as error:
            broken.append(error)
            deadline.reschedule(asyncio.get_running_loop().time())

    try:
        async with asyncio.timeout(None) as deadline:
            using = asyncio.create_task(use())
            try:
                yield
            finally:
                using.cancel()
                await asyncio.wait([using])
    except TimeoutError:
        if broken:
            raise StoreAway(f"{broken[0]} ({_LOST})") from broken[0]
        raise
    except StoreAway as error:
        if database.is_closed():  # the loop above has not noticed, and the tables may be gone already
            raise StoreAway(f"{error} ({_LOST})") from error
        raise


async def _give_up(database: Connection, name: str) -> None:
    await database.fetchval(_UNLOCK, name)  # from now on, whoever finds it returns only when it is gone
    await _drop(database, name)


async def remove_left_behind(database: Connection) -> int:
    """Removes the schemas that nobody uses any more, if this role may. Returns how many it removed itself; schemas that
    others were removing at the same time are gone, too."""
    removed = 0
    for row in await database.fetch(_OURS, PREFIX):
        if await database.fetchval(_LOCK_LEFT_BEHIND, row[0]):
            try:
                await _drop(database, row[0])
                removed += 1
            except asyncpg.InvalidSchemaNameError:
                pass  # its maker, or another instance, was faster
            finally:
                await database.fetchval(_UNLOCK_LEFT_BEHIND, row[0])
    return removed


async def _drop(database: Connection, name: str) -> None:
    quoted = '"' + name.replace('"', '""') + '"'
    await database.execute(f"DROP SCHEMA {quoted} CASCADE", timeout=_DROP_TIMEOUT_S)


async def _finish(work: Coroutine[object, object, None]) -> None:
    """Awaits `work` to its end, even if this task is cancelled meanwhile."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await task
        raise
