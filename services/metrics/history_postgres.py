"""The history in PostgreSQL: two partitioned tables, written by upserts, so that several instances never count a minute
twice."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import asyncpg

from services.chassis.postgres.pool import Database, Pool
from services.metrics.history import HOUR_S, Hour
from services.metrics.minutes import MINUTE_S, Minute

_DAY_S: Final = 86400
_LOCK: Final = 0x6D65_7472_6963_7301  # held while partitions are made or dropped: an arbitrary number
_AGAIN_S: Final = 3 * HOUR_S  # hours that are made again: minutes may be written late, after PostgreSQL was away

_FIGURES: Final = tuple(name for name in Minute._fields if name not in ("minute", "edge", "seconds", "draining"))
HIGH: Final = ("connections", "accepted", "messages_in", "messages_out", "publishes", "bytes_out", "cpu")
"""The figures for which an hour also has the 95th percentile."""

_COLUMNS: Final = ("minute", "edge", "seconds", "draining", *_FIGURES)
_TYPES: Final = ("timestamptz", "text", "int", "bool", *["float8"] * len(_FIGURES))


def _update(table: str, columns: Sequence[str], fuller: str) -> str:
    sets = ", ".join(f"{name} = excluded.{name}" for name in columns)
    return f"DO UPDATE SET {sets} WHERE {table}.{fuller} <= excluded.{fuller}"


_WRITE: Final = f"""
INSERT INTO metrics_minutes ({", ".join(_COLUMNS)})
SELECT * FROM unnest({", ".join(f"${n}::{kind}[]" for n, kind in enumerate(_TYPES, 1))})
ON CONFLICT (minute, edge) {_update("metrics_minutes", _COLUMNS[2:], "seconds")}"""

_HOUR_COLUMNS: Final = ("hour", "edge", "minutes", *_FIGURES, *(f"high_{name}" for name in HIGH))
_MAKE_HOURS: Final = f"""
INSERT INTO metrics_hours ({", ".join(_HOUR_COLUMNS)})
SELECT date_trunc('hour', minute, 'UTC') AS hour, edge, count(*),
    {", ".join(f"max({name})" if name == "loop_lag_max_s" else f"avg({name})" for name in _FIGURES)},
    {", ".join(f"percentile_cont(0.95) WITHIN GROUP (ORDER BY {name})" for name in HIGH)}
FROM metrics_minutes WHERE minute >= $1 AND minute < $2 GROUP BY 1, 2
ON CONFLICT (hour, edge) {_update("metrics_hours", _HOUR_COLUMNS[2:], "minutes")}"""

_PARTITIONS: Final = """
SELECT relname FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid
WHERE inhparent = to_regclass($1) ORDER BY relname"""

_READ: Final = f"""
SELECT * FROM (
    SELECT {", ".join(_HOUR_COLUMNS)} FROM metrics_hours
    WHERE hour >= $1 AND (edge = '') = $2 ORDER BY hour DESC, edge LIMIT $3
) AS newest ORDER BY hour, edge"""


def _moment(at: float) -> datetime:
    return datetime.fromtimestamp(at, UTC)


class _Partitions:
    """The partitions of one table, each for a day or a month and named after its first day."""

    def __init__(self, table: str, monthly: bool) -> None:
        self._table = table
        self._monthly = monthly
        self._made: set[str] = set()

    def bounds(self, at: float) -> tuple[datetime, datetime]:
        first = _moment(at).replace(hour=0, minute=0, second=0, microsecond=0)
        if not self._monthly:
            return first, first + timedelta(days=1)
        first = first.replace(day=1)
        return first, (first + timedelta(days=32)).replace(day=1)

    def name(self, first: datetime) -> str:
        return f"{self._table}_{first:%Y%m%d}"

    def forget(self) -> None:
        """Forgets which partitions were made: an operator may have dropped them, or restored the database from a
        copy."""
        self._made.clear()

    async def make(self, database: Database, moments: Sequence[float]) -> None:
        """Makes the partitions for `moments`."""
        for first, end in {self.bounds(at) for at in moments}:
            name = self.name(first)
            if name in self._made:
                continue
            async with database.transaction():
                await database.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
                await database.execute(
                    f"CREATE TABLE IF NOT EXISTS {name} PARTITION OF {self._table} "
                    f"FOR VALUES FROM ('{first.isoformat()}') TO ('{end.isoformat()}')"
                )
            self._made.add(name)

    async def drop(self, database: Database, before: float) -> int:
        """Drops the partitions that end before the moment `before`. Returns how many."""
        dropped = 0
        for (name,) in await database.fetch(_PARTITIONS, self._table):
            first = datetime.strptime(name.rpartition("_")[2], "%Y%m%d").replace(tzinfo=UTC)
            if self.bounds(first.timestamp())[1] <= _moment(before):
                async with database.transaction():
                    await database.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
                    await database.execute(f"DROP TABLE IF EXISTS {name}")
                self._made.discard(name)
                dropped += 1
        return dropped


class PostgresHistory:
    """The `history.History` of the service. It keeps minutes and hours for the given numbers of seconds."""

    def __init__(self, pool: Pool, keep_minutes_s: float, keep_hours_s: float) -> None:
        self._pool = pool
        self._keep_minutes_s = keep_minutes_s
        self._keep_hours_s = keep_hours_s
        self._minutes = _Partitions("metrics_minutes", monthly=False)
        self._hours = _Partitions("metrics_hours", monthly=True)

    async def write(self, minutes: Sequence[Minute]) -> None:
        """See `History`."""
        if not minutes:
            return
        columns = [[getattr(one, name) for one in minutes] for name in _COLUMNS]
        columns[0] = [_moment(one.minute) for one in minutes]
        async with self._pool.database() as database:
            await self._minutes.make(database, [one.minute for one in minutes])
            try:
                await database.execute(_WRITE, *columns)
            except asyncpg.CheckViolationError:  # no partition for a row
                self._minutes.forget()
                await self._minutes.make(database, [one.minute for one in minutes])
                await database.execute(_WRITE, *columns)

    async def tidy(self, now: float) -> int:
        """See `History`."""
        until = now // HOUR_S * HOUR_S
        async with self._pool.database() as database:
            last: datetime | None = await database.fetchval("SELECT max(hour) FROM metrics_hours")
            oldest = until - self._keep_minutes_s
            since = oldest if last is None else max(oldest, last.timestamp() - _AGAIN_S)
            await self._hours.make(database, _months(since, until))
            await database.execute(_MAKE_HOURS, _moment(since), _moment(until))
            dropped = await self._minutes.drop(database, now - self._keep_minutes_s)
            return dropped + await self._hours.drop(database, now - self._keep_hours_s)

    async def hours(self, since: float, *, whole: bool, limit: int) -> list[Hour]:
        """See `History`."""
        async with self._pool.database() as database:
            return [_hour(row) for row in await database.fetch(_READ, _moment(since), whole, limit)]


def _months(since: float, until: float) -> list[float]:
    """A moment in each month from `since` to `until`."""
    return [*(since + day * _DAY_S for day in range(0, int((until - since) // _DAY_S) + 1, 28)), until]


def _hour(row: Any) -> Hour:
    hour = int(row["hour"].timestamp())
    figures = {name: row[name] for name in _FIGURES}
    mean = Minute(hour, row["edge"], MINUTE_S, **figures)
    return Hour(hour, row["minutes"], mean, mean._replace(**{name: row[f"high_{name}"] for name in HIGH}))
