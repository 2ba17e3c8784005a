"""Makes partitions of tables ahead of time, and drops those that are outlived.

Rows without a partition for their time go into the default partition: facts of the past, or of wrong clocks, are never
refused. Tables are locked briefly or not at all: work that cannot get its lock soon is done the next time.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final, NamedTuple

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

MOVED: Final = 10_000
"""Rows that may move out of an outlived partition, while nobody can read its table: this takes a fraction of a
second."""

_BLOCKS: Final = 256
"""Blocks of a partition from which one transaction removes rows."""

_AGAIN_AFTER: Final = timedelta(hours=6)
"""How long an outlived partition is left alone if too many rows would have to move out of it."""

# Sessions that stay, though they were opened long ago: they are open, or ended lately.
_LIVES: Final = "(s.ended_at IS NULL OR s.ended_at >= {before})"
_OLD_ENOUGH: Final = "s.opened_at < {end} + interval '1 day'"
_OF_CONNECTIONS: Final = f"""
SELECT t.connection FROM sessions s JOIN connections c ON c.session_id = s.id JOIN {{name}} t ON t.connection = c.id
WHERE {_OLD_ENOUGH} AND {_LIVES} LIMIT {{limit}}"""
_NO_CONNECTION_LIVES: Final = f"""NOT EXISTS (
    SELECT FROM connections c JOIN sessions s ON s.id = c.session_id WHERE c.id = t.connection AND {_LIVES} OFFSET 0)"""


class _Staying(NamedTuple):
    """Which rows of an outlived partition `t` stay, by this column: `found` finds them, and they move into the default
    partition. `others` is the condition for all other rows, and looks sessions up by key: without OFFSET 0 it may read
    all sessions."""

    column: str
    found: str
    others: str


_STAYING: Final = {
    "sessions": _Staying("id", f"SELECT s.id FROM {{name}} s WHERE {_LIVES} LIMIT {{limit}}", "t.ended_at < {before}"),
    "connections": _Staying(
        "id",
        f"SELECT t.id FROM sessions s JOIN {{name}} t ON t.session_id = s.id WHERE {_OLD_ENOUGH} AND {_LIVES} "
        "LIMIT {limit}",
        f"NOT EXISTS (SELECT FROM sessions s WHERE s.id = t.session_id AND {_LIVES} OFFSET 0)",
    ),
    "subscriptions": _Staying("connection", _OF_CONNECTIONS, _NO_CONNECTION_LIVES),
    "timeline": _Staying("connection", _OF_CONNECTIONS, _NO_CONNECTION_LIVES),
}
"""In all other tables no row stays."""


class Partitions:
    """The partitions of all tables. Rows are kept for `keep`, those of the archive for `archive_keep`; zero: for
    ever."""

    def __init__(self, pool: Pool, keep: timedelta, archive_keep: timedelta = timedelta(0)) -> None:
        self._pool = pool
        self._keep = dict.fromkeys(TIME_COLUMNS, keep) | {"log_archive": archive_keep}
        self._left_alone: dict[str, datetime] = {}  # outlived partitions, and until when

    async def make(self, now: datetime) -> list[str]:
        """Makes the partitions of the present, of the range after it, and of the last days. Returns their names.

        Rows of these times in the default partition move into the new ones. Raises `StoreAway`.
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
        """Drops the partitions that are outlived; rows that must stay move into the default partition. A partition with
        more such rows than can move in a moment is kept, and its other rows are deleted. Returns the names of the
        partitions that were dropped, or lost rows. Raises `StoreAway`."""
        dropped: list[str] = []
        emptied: list[str] = []
        async with self._pool.database() as database:
            for each in outlived_of(await _there(database), self._keep, now):
                if self._left_alone.get(each.name, now) > now:
                    continue
                before = now - self._keep[each.table]
                if await _drop(database, each, before):
                    dropped.append(each.name)
                elif await _remove_others(database, each, before):
                    self._left_alone[each.name] = now + _AGAIN_AFTER
                    emptied.append(each.name)
        for name in dropped:
            self._left_alone.pop(name, None)
        if dropped:
            log.info("dropped %d expired partitions: %s", len(dropped), ", ".join(dropped))
        if emptied:
            what = "removed the old rows of %d expired partitions, in which many sessions are still open: %s"
            log.info(what, len(emptied), ", ".join(emptied))
        return dropped + emptied


def outlived_of(there: Iterable[Partition], keep: dict[str, timedelta], now: datetime) -> list[Partition]:
    """The outlived partitions, those of parts first: the tables that they are parts of tell which of their rows
    stay."""
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
    # From here on no row of the new partition may come into the default one: otherwise it could not be attached.
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


async def _drop(database: Database, old: Partition, before: datetime) -> bool:
    """Whether it was dropped. It is not if another instance is at work, or if more than `MOVED` of its rows must
    stay."""
    table, name = old.table, old.name
    async with database.transaction():
        if not await database.fetchval(_ONE_AT_A_TIME):
            return False
        await database.execute(_NOT_FOR_LONG)
        staying, keys = _STAYING.get(table), []
        if staying:  # this may take long, but blocks nobody
            end, least = _literal(old.range.end), _literal(before)
            found = staying.found.format(name=name, end=end, before=least, limit=MOVED + 1)
            keys = [row[0] for row in await database.fetch(found, timeout=_STATEMENT_TIMEOUT_S)]
            if len(keys) > MOVED:
                return False
        await database.execute(f"ALTER TABLE {table} DETACH PARTITION {name}")
        if staying and keys:
            move = f"INSERT INTO {table} SELECT * FROM {name} WHERE {staying.column} = ANY($1::text[])"
            await database.execute(move, list(set(keys)))
        await database.execute(f"DROP TABLE {name}")
    return True


async def _remove_others(database: Database, old: Partition, before: datetime) -> bool:
    """Removes the rows that need not stay, some blocks at a time. False if another instance is at work."""
    staying = _STAYING.get(old.table)
    if staying is None:
        return False
    others = staying.others.format(before=_literal(before))
    blocks: int = await database.fetchval(
        "SELECT pg_relation_size(to_regclass($1)) / current_setting('block_size')::int", old.name
    )
    for first in range(0, blocks or 0, _BLOCKS):
        places = f"t.ctid >= '({first},0)' AND t.ctid < '({first + _BLOCKS},0)'"
        async with database.transaction():
            if not await database.fetchval(_ONE_AT_A_TIME):
                return False
            await database.execute(_NOT_FOR_LONG)
            await database.execute(f"DELETE FROM {old.name} t WHERE {places} AND {others}")
    return True


def _literal(moment: datetime) -> str:
    """A time of ours in SQL: statements that define tables take no parameters."""
    return f"'{moment.isoformat()}'::timestamptz"
