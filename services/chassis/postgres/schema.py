"""Migrates a database to the schema that this version of a service needs, or says why it cannot.

Alembic and SQLAlchemy take two seconds to import, so a service whose database is up to date never loads them. Several
instances may start at once: an advisory lock lets one of them migrate while the others wait. Services may share a
database: each has its own revisions and version table.

Every wait here has a limit: the caller tries again, and meanwhile logs why.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field
from pathlib import Path

from services.chassis.postgres.connector import Connector
from services.chassis.postgres.errors import SchemaRefused, StoreAway
from services.chassis.postgres.pool import first_line, store_errors
from services.chassis.process.complaint import Complaint

log = logging.getLogger(__name__)

_CONNECT_TIMEOUT_S = 10.0
_ANSWER_TIMEOUT_S = 10.0
_LOCK_TIMEOUT_S = 10.0
"""For a lock that a migration needs. Every other user of the table waits behind the migration, so it must not wait for
long."""
_STATEMENT_TIMEOUT_S = 3600.0
"""For one statement of a migration, which may build an index: only a hung server takes this long."""
_LOCK_NOT_AVAILABLE = "55P03"
_LOCK = 0x6661_6972_6C65_6164  # "fairlead": an arbitrary number that no other program is likely to use


@dataclass(frozen=True)
class Schema:
    """The tables of one service. `head` is the newest revision in the folder `migrations`, which this version needs;
    `version_table` is where Alembic notes the revision; `how` tells an operator how to migrate."""

    head: str
    migrations: Path
    version_table: str
    how: str
    _told: Complaint = field(default_factory=Complaint, repr=False, compare=False)

    async def revision(self, url: str) -> str | None:
        """The revision of the database at `url`, None if it has none of these tables. Raises `StoreAway`."""
        with store_errors():
            database = await Connector(url).connect(timeout=_CONNECT_TIMEOUT_S, command_timeout=_ANSWER_TIMEOUT_S)
            try:
                if await database.fetchval("SELECT to_regclass($1)", self.version_table) is None:
                    return None
                found: str | None = await database.fetchval(f"SELECT version_num FROM {self.version_table}")
                return found
            finally:
                await database.close(timeout=5)

    async def migrate(self, url: str) -> None:
        """Migrates the database at `url` to `head`. Raises `StoreAway`, and `SchemaRefused` if it is newer."""
        found = await self.revision(url)
        if found == self.head:
            return
        if found is not None and found > self.head:
            raise SchemaRefused(
                f"the database is at revision {found}, and this version supports {self.head} at most: run the newer "
                "version, or give this one a database of its own"
            )
        started = time.monotonic()
        if self._told.due(f"{found}", started):
            log.info("migrating the database from revision %s to %s", found or "none", self.head)
        with store_errors():
            await self._upgrade(url)
        log.info("migrated the database in %.1f s", time.monotonic() - started)

    async def check(self, url: str) -> None:
        """Raises `SchemaRefused` unless the database is at `head`, and `StoreAway`."""
        found = await self.revision(url)
        if found != self.head:
            raise SchemaRefused(
                f"the database is at revision {found or 'none'} and this version needs {self.head}: {self.how}"
            )

    async def _upgrade(self, url: str) -> None:
        from alembic import command
        from alembic.config import Config
        from alembic.util import CommandError
        from sqlalchemy import Connection, text
        from sqlalchemy.exc import DBAPIError
        from sqlalchemy.ext.asyncio import create_async_engine
        from sqlalchemy.pool import NullPool

        def run(connection: Connection) -> None:
            connection.execute(text(f"SET LOCAL lock_timeout = '{_LOCK_TIMEOUT_S * 1000:.0f}ms'"))
            try:
                connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
            except DBAPIError as error:
                if getattr(error.orig, "sqlstate", None) != _LOCK_NOT_AVAILABLE:
                    raise
                raise StoreAway("another process has been migrating the database for a while: let it finish") from error
            config = Config()
            config.set_main_option("script_location", str(self.migrations))
            config.attributes["connection"] = connection
            config.attributes["version_table"] = self.version_table
            command.upgrade(config, self.head)  # a no-op for an instance that waited for the lock

        # Not by its URL: SQLAlchemy does not accept everything that asyncpg does, such as several servers and
        # `sslmode`.
        connector = Connector(url)
        engine = create_async_engine(
            "postgresql+asyncpg://",
            async_creator=lambda: connector.connect(timeout=_CONNECT_TIMEOUT_S, command_timeout=_STATEMENT_TIMEOUT_S),
            poolclass=NullPool,
        )
        try:
            async with engine.begin() as connection:
                await connection.run_sync(run)
        except CommandError as error:
            raise SchemaRefused(f"the database has a revision that this version does not know: {error}") from error
        except DBAPIError as error:
            if error.orig is None or error.orig.__cause__ is None:
                raise StoreAway(f"PostgreSQL: {first_line(error)}") from error
            raise error.orig.__cause__ from error
        finally:
            await engine.dispose()
