"""Puts the tables that were folded beside into the place of the live ones, in one transaction under the position's
lock."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from typing import Any, Final

import asyncpg

from services.chassis.postgres.errors import StoreAway
from services.chassis.postgres.pool import Database, Pool
from services.sessions import statements as sql
from services.sessions.projection import NAME
from services.sessions.rebuilding.beside_postgres import Beside
from services.sessions.rebuilding.model_tables import ModelTable
from services.sessions.rows_postgres import moment
from services.sessions.store import Position

_LONG_S: Final = 3600.0
"""For a statement that reads whole tables."""

_LOCK_TIMEOUT: Final = "SET LOCAL lock_timeout = '2s'"
"""The sessions service waits meanwhile, and so does every query of these tables."""

_HELD: Final = ("55P03", "40P01")  # lock timeout, or deadlock

_OLDER: Final = "SELECT count(*) FROM {live}.{table} WHERE {ended} < $1"
_LETTERS: Final = "SELECT epoch, sequence, CASE WHEN newer THEN 0 ELSE size END AS size FROM dead_letters"

# Writers with later batches in the live tables than in the tables beside: the log no longer has these batches.
_LOST_WRITERS: Final = """
SELECT count(*) FROM {live}.log_writers l LEFT JOIN {beside}.log_writers b USING (instance)
WHERE b.instance IS NULL OR b.number < l.number"""

_ERASED: Final = "SELECT count(*) FROM {live}.erasures"

_PARTS: Final = """
SELECT inhrelid::regclass::text AS part FROM pg_inherits WHERE inhparent = to_regclass($1) ORDER BY 1"""

_MISSING_PARTS: Final = """
SELECT quote_ident(c.relname), pg_get_expr(c.relpartbound, c.oid) FROM pg_inherits i JOIN pg_class c ON c.oid = inhrelid
WHERE inhparent = to_regclass($1) AND c.relname NOT IN (
    SELECT b.relname FROM pg_inherits JOIN pg_class b ON b.oid = inhrelid WHERE inhparent = to_regclass($2))
ORDER BY 1"""

_GRANTS: Final = """
SELECT CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END AS grantee,
    a.privilege_type, a.is_grantable
FROM pg_class c, aclexplode(c.relacl) a WHERE c.oid = to_regclass($1) AND a.grantee <> c.relowner"""

_KEEP_POSITION: Final = """
INSERT INTO projections (name, epoch, sequence, moved_at) VALUES ($1, $2, $3, now())
ON CONFLICT (name) DO UPDATE SET epoch = excluded.epoch, sequence = excluded.sequence, moved_at = excluded.moved_at"""
_FORGET_OTHERS: Final = "DELETE FROM projections WHERE name ~ ('^' || $1 || '-[0-9]+$') AND name <> ALL($2::text[])"


class Held(Exception):
    """Others hold a lock of the tables for too long. Nothing was changed; trying again may succeed."""


class Live:
    """The live tables, and the tables beside them. Every method raises `StoreAway`."""

    def __init__(self, pool: Pool, schemas: Beside) -> None:
        self._pool = pool
        self._schemas = schemas

    async def position(self) -> Position:
        """The position of the live tables."""
        async with self._pool.database() as database:
            row = await database.fetchrow(sql.POSITION, NAME)
        return Position(row["epoch"], row["sequence"]) if row else Position("", 0)

    async def letters(self) -> dict[tuple[str, int], int]:
        """The sizes of dead letters, by epoch and sequence of their messages; 0 for a letter whose facts only a newer
        version can read: then the message is not set aside as a whole."""
        async with self._pool.database() as database:
            return await letters_of(database)

    async def older(self, tables: Sequence[ModelTable], before_ms: int) -> dict[str, int]:
        """How many rows of these tables are about a time before `before_ms` (Unix milliseconds), for tables with
        any."""
        found: dict[str, int] = {}
        before: datetime = moment(before_ms)
        async with self._pool.database() as database:
            for table in tables:
                question = _OLDER.format(live=self._schemas.live, table=table.name, ended=table.ended)
                if rows := await database.fetchval(question, before, timeout=_LONG_S):
                    found[table.name] = rows
        return found

    async def is_behind(self) -> bool:
        """Whether the live tables have later batches of a writer than the log."""
        async with self._pool.database() as database:
            return bool(await database.fetchval(self._filled(_LOST_WRITERS)))

    async def has_erased(self) -> bool:
        """Whether a user was erased, so that messages may be missing in the log."""
        async with self._pool.database() as database:
            return bool(await database.fetchval(self._filled(_ERASED)))

    @asynccontextmanager
    async def locked(self) -> AsyncIterator[tuple[Database, Position]]:
        """A transaction in which the live tables stay at their position, and that position. Raises `Held`."""
        try:
            async with self._pool.database() as database, database.transaction():
                await database.execute(_LOCK_TIMEOUT)
                at = await database.fetchrow(sql.LOCK_POSITION, NAME)
                assert at is not None
                yield database, Position(at["epoch"], at["sequence"])
        except StoreAway as error:
            if isinstance(error.__cause__, asyncpg.PostgresError) and error.__cause__.sqlstate in _HELD:
                raise Held(str(error)) from error
            raise

    async def analyze(self, tables: Sequence[ModelTable]) -> None:
        """Updates the planner's statistics of the new tables."""
        async with self._pool.database() as database:
            for table in tables:
                await database.execute(f"ANALYZE {self._schemas.beside}.{table.name}", timeout=_LONG_S)

    async def take(
        self, database: Database, tables: Sequence[ModelTable], names: Mapping[str, str], at: Position
    ) -> None:
        """Swaps the tables, within a transaction of `locked`. `names` has the stored name of each model's position."""
        for table in tables:
            await self._take_one(database, table.name)
        for model, name in names.items():
            await database.execute(_KEEP_POSITION, name, at.epoch, at.sequence)
            await database.execute(_FORGET_OTHERS, model, [name, NAME])
        await database.execute(sql.NEXT_GENERATION, NAME)

    async def _take_one(self, database: Database, table: str) -> None:
        live, beside = f"{self._schemas.live}.{table}", f"{self._schemas.beside}.{table}"
        grants = await database.fetch(_GRANTS, live)
        await self._make_same_parts(database, table)
        parts = [row["part"] for row in await database.fetch(_PARTS, beside)]
        await database.execute(f"DROP TABLE {live}")
        for name in (beside, *parts):
            await database.execute(f"ALTER TABLE {name} SET SCHEMA {self._schemas.live}")
        for grantee, right, grantable in grants:
            option = " WITH GRANT OPTION" if grantable else ""
            await database.execute(f"GRANT {right} ON {live} TO {grantee}{option}")

    async def make_same_parts(self, tables: Sequence[ModelTable]) -> None:
        """Makes the partitions of the live tables in the schema beside, too."""
        async with self._pool.database() as database:
            for table in tables:
                await self._make_same_parts(database, table.name)

    async def _make_same_parts(self, database: Database, table: str) -> None:
        beside = f"{self._schemas.beside}.{table}"
        for name, bound in await database.fetch(_MISSING_PARTS, f"{self._schemas.live}.{table}", beside):
            if bound is None:
                continue  # it was dropped while PostgreSQL looked
            # Rows of that time in the default partition stay there until the service makes the partition.
            with suppress(asyncpg.CheckViolationError):
                async with database.transaction():
                    await database.execute(f"CREATE TABLE {self._schemas.beside}.{name} PARTITION OF {beside} {bound}")

    def _filled(self, statement: str) -> str:
        return statement.format(live=self._schemas.live, beside=self._schemas.beside)


async def letters_of(database: Database) -> dict[tuple[str, int], int]:
    """Dead letters, as `Live.letters` has them."""
    rows: list[Any] = await database.fetch(_LETTERS)
    return {(row["epoch"], row["sequence"]): row["size"] for row in rows}
