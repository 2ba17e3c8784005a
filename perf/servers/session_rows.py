"""Fills a PostgreSQL with a month of sessions (`perf.load.session_month`), and picks what to ask about."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

import asyncpg

from perf.load.session_month import DAYS, KEEP, OF_A_DAY, OF_THE_MONTH, of_day
from services.sessions.partitions import Range, missing, partition, width_of
from services.sessions.schema_postgres import SCHEMA

_AT_ONCE: Final = 2
_PICKED: Final = 500
_STARTS_WITHIN_S: Final = 30.0
_POLL_S: Final = 0.1

SETTINGS: Final = {
    "shared_buffers": "2GB",
    "max_wal_size": "8GB",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "maintenance_work_mem": "256MB",
    "effective_cache_size": "8GB",
}
"""The settings of a PostgreSQL with so many sessions, besides its defaults."""


class Picked(NamedTuple):
    """What questions are about, many of each, in random order: ids of sessions, some with a timeline; and moments."""

    sessions: Sequence[str]
    with_timeline: Sequence[str]
    users: Sequence[str]
    channels: Sequence[str]
    rooms: Sequence[str]
    addresses: Sequence[str]
    moments: Sequence[datetime]
    now: datetime


async def fill(url: str, sessions: int, progress: Callable[[float], None]) -> None:
    """Migrates the database, and writes that many sessions with all that belongs to them. `progress`: from 0 to 1.

    The rows are written into tables without indexes, which then become partitions, the same as the service makes:
    that is how PostgreSQL makes the indexes of so many rows in minutes.
    """
    await SCHEMA.migrate(url)
    now = datetime.now(UTC)
    today = now.replace(hour=0, minute=0, second=0, microsecond=0)
    days = [today - timedelta(days=DAYS - 1 - number) for number in range(DAYS)]
    done = 0
    waiting = missing([], days[0], now, width_of(KEEP))

    async def worker() -> None:
        nonlocal done
        database = await asyncpg.connect(url)
        try:
            await database.execute(
                "SET synchronous_commit = off; SET work_mem = '256MB'; SET temp_buffers = '256MB'; SELECT setseed(0.5)"
            )
            while waiting:
                range = waiting.pop()
                async with database.transaction():  # WAL is not needed for a table that is made in the same transaction
                    for table in OF_A_DAY:
                        name = partition(table.name, range).name
                        await database.execute(f"CREATE TABLE {name} (LIKE {table.name} INCLUDING DEFAULTS)")
                    for number, day in enumerate(days):
                        if range.start <= day < range.end:
                            await _write_day(database, range, number, day, now, sessions)
                            done += 1
                            progress(done / (DAYS + 3))
                await _attach(database, range)
        finally:
            await database.close()

    await asyncio.gather(*(worker() for _ in range(_AT_ONCE)))
    database = await asyncpg.connect(url)
    try:
        await database.execute("SET work_mem = '512MB'")
        for statement in OF_THE_MONTH:
            await database.execute(statement)
        await database.execute("VACUUM ANALYZE")
        await database.execute("CHECKPOINT")
    finally:
        await database.close()


async def _write_day(
    database: asyncpg.Connection[Any], range: Range, number: int, day: datetime, now: datetime, sessions: int
) -> None:
    """Each table's rows of a day are first written to a temporary table, as later tables are counted from the day's
    rows."""
    suffix = f"d{day:%Y%m%d}"
    for table in OF_A_DAY:
        name = f"{table.name}_{suffix}"
        rows = of_day(table, number, suffix, day.isoformat(), now.isoformat(), sessions)
        await database.execute(f"CREATE TEMPORARY TABLE {name} (LIKE {table.name} INCLUDING DEFAULTS)")
        await database.execute(f"INSERT INTO {name} {rows}")
        await database.execute(f"ANALYZE {name}")
        await database.execute(f"INSERT INTO {partition(table.name, range).name} SELECT * FROM {name}")
    await database.execute("DROP TABLE " + ", ".join(f"{table.name}_{suffix}" for table in OF_A_DAY))


async def _attach(database: asyncpg.Connection[Any], range: Range) -> None:
    for table in OF_A_DAY:
        bounds = f"FROM ('{range.start.isoformat()}') TO ('{range.end.isoformat()}')"
        name = partition(table.name, range).name
        await database.execute(f"ALTER TABLE {table.name} ATTACH PARTITION {name} FOR VALUES {bounds}")


async def is_filled(url: str) -> bool:
    """Whether there are tables with sessions in them. Waits for a PostgreSQL that is starting."""
    database = await _connected(url)
    try:
        if await database.fetchval("SELECT to_regclass('sessions')") is None:
            return False
        return bool(await database.fetchval("SELECT EXISTS (SELECT FROM sessions)"))
    finally:
        await database.close()


async def size_bytes(url: str) -> int:
    """The bytes of the whole database."""
    database = await asyncpg.connect(url)
    try:
        return int(await database.fetchval("SELECT pg_database_size(current_database())"))
    finally:
        await database.close()


async def rows_of(url: str, tables: Sequence[str]) -> dict[str, int]:
    """About how many rows each table has."""
    database = await asyncpg.connect(url)
    try:
        counted = """SELECT coalesce(sum(c.reltuples) FILTER (WHERE c.relkind = 'r'), 0)::bigint FROM pg_class c
            WHERE c.reltuples > 0 AND (c.oid = $1::regclass OR c.oid IN (
                SELECT relid FROM pg_partition_tree($1::regclass)))"""
        return {name: await database.fetchval(counted, name) for name in tables}
    finally:
        await database.close()


async def pick(url: str, seed: int) -> Picked:
    """Picks the same for the same seed and rows, except for the moments."""
    database = await asyncpg.connect(url)
    try:
        total = await database.fetchval("SELECT sum(reltuples) FROM pg_class WHERE relname LIKE 'sessions\\_p%'")
        percent = min(100.0, 100.0 * 20 * _PICKED / max(total, 1))
        sample = f"TABLESAMPLE BERNOULLI ({percent}) REPEATABLE ({seed})"
        rows = await database.fetch(f"SELECT id, user_id, address FROM sessions {sample}")
        channels = await database.fetch("SELECT name FROM channels WHERE name LIKE 'chat:%' LIMIT 5000")
        rooms = await database.fetch("SELECT name FROM channels WHERE name LIKE 'room:%' LIMIT 5000")
    finally:
        await database.close()
    chance = random.Random(seed)
    chance.shuffle(rows)
    now = datetime.now(UTC)
    month_s = (DAYS - 1) * 86_400
    return Picked(
        sessions=[row["id"] for row in rows[:_PICKED]],
        with_timeline=[row["id"] for row in rows if row["id"] < "1"][:_PICKED],
        users=[row["user_id"] for row in rows if row["user_id"]][:_PICKED],
        channels=[row["name"] for row in channels],
        rooms=[row["name"] for row in rooms],
        addresses=[row["address"] for row in rows[:_PICKED]],
        moments=[now - timedelta(seconds=chance.uniform(60, month_s)) for _ in range(_PICKED)],
        now=now,
    )


async def _connected(url: str) -> asyncpg.Connection[Any]:
    until = time.monotonic() + _STARTS_WITHIN_S
    while True:
        try:
            return await asyncpg.connect(url)
        except asyncpg.CannotConnectNowError:
            if time.monotonic() > until:
                raise
        await asyncio.sleep(_POLL_S)
