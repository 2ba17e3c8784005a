"""Migrates the database to the schema that this version of the service needs, or says why it cannot.

Alembic and SQLAlchemy take two seconds to import, so a service whose database is up to date never loads them. Several
instances may start at once: an advisory lock lets one of them migrate while the others wait.
"""

from __future__ import annotations

import logging
import time
from pathlib import Path

import asyncpg

from services.sessions.pool_postgres import store_errors

log = logging.getLogger(__name__)

HEAD = "0001"
"""The newest revision in `migrations/versions`, which this version needs."""

_LOCK = 0x6661_6972_6C65_6164  # "fairlead": an arbitrary number that no other program is likely to use
_FOLDER = Path(__file__).parent / "migrations"


class SchemaRefused(Exception):
    """This version cannot use the database's schema. The text says what to do."""


async def revision_of(url: str) -> str | None:
    """The revision of the database, None if it has none of our tables. Raises `StoreAway`."""
    with store_errors():
        database = await asyncpg.connect(url, timeout=10)
        try:
            if await database.fetchval("SELECT to_regclass('alembic_version')") is None:
                return None
            revision: str | None = await database.fetchval("SELECT version_num FROM alembic_version")
            return revision
        finally:
            await database.close(timeout=5)


async def migrate(url: str) -> None:
    """Migrates the database at `url` to `HEAD`. Raises `StoreAway`, and `SchemaRefused` if it is newer."""
    found = await revision_of(url)
    if found == HEAD:
        return
    if found is not None and found > HEAD:
        raise SchemaRefused(
            f"the database is at revision {found}, and this version supports {HEAD} at most: run the newer version, "
            "or give this one a database of its own"
        )
    started = time.monotonic()
    log.info("migrating the database from revision %s to %s", found or "none", HEAD)
    with store_errors():
        await _upgrade(url)
    log.info("migrated the database in %.1f s", time.monotonic() - started)


async def check_migrated(url: str) -> None:
    """Raises `SchemaRefused` unless the database is at `HEAD`."""
    found = await revision_of(url)
    if found != HEAD:
        raise SchemaRefused(
            f"the database is at revision {found or 'none'} and this version needs {HEAD}: "
            "run `python -m services.sessions migrate`, or set sessions.migrate = true"
        )


async def _upgrade(url: str) -> None:
    from alembic import command
    from alembic.config import Config
    from sqlalchemy import Connection, text
    from sqlalchemy.exc import DBAPIError
    from sqlalchemy.ext.asyncio import create_async_engine
    from sqlalchemy.pool import NullPool

    def run(connection: Connection) -> None:
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
        config = Config()
        config.set_main_option("script_location", str(_FOLDER))
        config.attributes["connection"] = connection
        command.upgrade(config, HEAD)  # a no-op for an instance that has waited for the lock

    engine = create_async_engine(url.replace(url.partition("://")[0], "postgresql+asyncpg", 1), poolclass=NullPool)
    try:
        async with engine.begin() as connection:
            await connection.run_sync(run)
    except DBAPIError as error:
        raise (error.orig.__cause__ if error.orig and error.orig.__cause__ else error) from error
    finally:
        await engine.dispose()
