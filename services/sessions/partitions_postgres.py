"""Makes partitions of tables ahead of time, and lets those go that are outlived.

Rows for whose time there is no partition go into the default one: facts of the past, or of clocks that are wrong, are
never refused. Tables are locked briefly or not at all: what cannot have its lock at once is done the next time.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final

from services.chassis.postgres.pool import Database, Pool
from services.sessions.partitions import PAST, TIME_COLUMNS, Partition, Range, missing, outlived, partition, width_of

log = logging.getLogger(__name__)

_LOCK: Final = 0x6661_6972_7061_7274  # "fairpart": an arbitrary number, as of `chassis.postgres.schema`
_ONE_AT_A_TIME: Final = f"SELECT pg_try_advisory_xact_lock({_LOCK})"
_NOT_FOR_LONG: Final = "SET LOCAL lock_timeout = '2s'"
_STATEMENT_TIMEOUT_S: Final = 600.0

_BOUNDS: Final = """
SELECT p.relname AS of, c.relname AS name, bounds[1]::timestamptz AS start, bounds[2]::timestamptz AS "end"
FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid JOIN pg_class p ON p.oid = i.inhparent
CROSS JOIN LATERAL regexp_match(
    pg_get_expr(c.relpartbound, c.oid), 'FROM \\(''(.+?)''\\) TO \\(''(.+?)''\\)') AS bounds
WHERE i.inhparent = ANY(SELECT to_regclass(name) FROM unnest($1::text[]) AS name) AND bounds IS NOT NULL"""

# Sessions that stay, though they were opened long ago: they are open, or ended lately.
_SURVIVORS: Final = """
CREATE TEMPORARY TABLE survivors ON COMMIT DROP AS
SELECT s.id AS session, c.id AS connection FROM sessions s LEFT JOIN connections c ON c.session_id = s.id
WHERE s.opened_at < {end} + interval '1 day' AND (s.ended_at IS NULL OR s.ended_at >= {before})"""

_STAYS: Final = {
    "sessions": "id IN (SELECT session FROM survivors)",
    "connections": "id IN (SELECT connection FROM survivors)",
    "subscriptions": "connection IN (SELECT connection FROM survivors)",
    "timeline": "connection IN (SELECT connection FROM survivors)",
}
"""Which rows of an outlived partition stay: they move into the default one. Of other tables none does."""


class Partitions:
    """The partitions of all tables. Rows are kept for `keep`, of the archive for `archive_keep`; zero: for ever."""

    def __init__(self, pool: Pool, keep: timedelta, archive_keep: timedelta = timedelta(0)) -> None:
        self._pool = pool
        self._keep = dict.fromkeys(TIME_COLUMNS, keep) | {"log_archive": archive_keep}

    async def make(self, now: datetime) -> list[str]:
        """Makes the partitions of the present, of the range after it, and of the last days. Returns their names.

        Rows of their times that are in the default partition move into them. Raises `StoreAway`.
        """
        made: list[str] = []
        async with self._pool.database() as database:
            there = await _there(database)
            for table, keep in self._keep.items():
                since = now - (min(PAST, keep) if keep else PAST)
                ranges = [each.range for each in there if each.table == table]
                for range in missing(ranges, since, now, width_of(keep)):
                    async with database.transaction():
                        if await database.fetchval(_ONE_AT_A_TIME):  # otherwise another instance makes it
                            await _make(database, partition(table, range))
                            made.append(partition(table, range).name)
        return made

    async def drop(self, now: datetime) -> list[str]:
        """Drops the partitions that are outlived; what is to stay of them moves into the default one. Returns their
        names. Raises `StoreAway`."""
        dropped: list[str] = []
        async with self._pool.database() as database:
            for each in outlived_of(await _there(database), self._keep, now):
                before = now - self._keep[each.table]
                async with database.transaction():
                    if await database.fetchval(_ONE_AT_A_TIME):
                        await _drop(database, each, before)
                        dropped.append(each.name)
        if dropped:
            log.info("dropped %d partitions that were outlived: %s", len(dropped), ", ".join(dropped))
        return dropped


def outlived_of(there: Iterable[Partition], keep: dict[str, timedelta], now: datetime) -> list[Partition]:
    """The outlived partitions, those of parts first: which of these stay is read from what they are parts of."""
    partitions = list(there)
    return [
        each
        for table, age in keep.items()
        if age
        for each in outlived([one for one in partitions if one.table == table], now - age)
    ]


async def _there(database: Database) -> list[Partition]:
    async with database.transaction():
        await database.execute(_NOT_FOR_LONG)  # pg_get_expr locks each partition
        rows = await database.fetch(_BOUNDS, list(TIME_COLUMNS))
    return [Partition(row["of"], row["name"], Range(row["start"], row["end"])) for row in rows]


async def _make(database: Database, new: Partition) -> None:
    table, name, column = new.table, new.name, TIME_COLUMNS[new.table]
    start, end = _literal(new.range.start), _literal(new.range.end)
    await database.execute(_NOT_FOR_LONG)
    await database.execute(f"CREATE TABLE {name} (LIKE {table} INCLUDING DEFAULTS INCLUDING CONSTRAINTS)")
    # From here on nothing may come into the default partition that belongs into the new one: it would not be attached.
    await database.execute(f"LOCK TABLE {table}_default")
    await database.execute(
        f"WITH moved AS (DELETE FROM {table}_default WHERE {column} >= {start} AND {column} < {end} RETURNING *) "
        f"INSERT INTO {name} SELECT * FROM moved",
        timeout=_STATEMENT_TIMEOUT_S,
    )
    await database.execute(
        f"ALTER TABLE {table} ATTACH PARTITION {name} FOR VALUES FROM ({start}) TO ({end})",
        timeout=_STATEMENT_TIMEOUT_S,
    )


async def _drop(database: Database, old: Partition, before: datetime) -> None:
    table, name, stays = old.table, old.name, _STAYS.get(old.table)
    await database.execute(_NOT_FOR_LONG)
    if stays:  # this takes long, and locks nobody out
        survivors = _SURVIVORS.format(end=_literal(old.range.end), before=_literal(before))
        await database.execute(survivors, timeout=_STATEMENT_TIMEOUT_S)
    await database.execute(f"ALTER TABLE {table} DETACH PARTITION {name}")
    if stays:
        await database.execute(f"INSERT INTO {table} SELECT * FROM {name} WHERE {stays}", timeout=_STATEMENT_TIMEOUT_S)
        await database.execute("DROP TABLE survivors")
    await database.execute(f"DROP TABLE {name}")


def _literal(moment: datetime) -> str:
    """A time of ours in SQL: statements that define tables take no parameters."""
    return f"'{moment.isoformat()}'::timestamptz"
