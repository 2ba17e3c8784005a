"""Compares the live tables with those that were folded beside them, row by row, in PostgreSQL, at one moment.

If the log does not reach back to the beginning, rows that depend on earlier facts are left out, and their number is
reported: rows of connections that were opened before, of their sessions and channels, and counts of the time until the
last of these connections was closed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, Final, NamedTuple

import msgspec

from services.chassis.postgres.pool import Database, Pool
from services.sessions.rebuilding.beside_postgres import Beside
from services.sessions.rebuilding.model_tables import ModelTable
from services.sessions.rows_postgres import moment

MAX_EXAMPLES: Final = 20
"""The most differing rows of a table that are shown."""

_LONG_S: Final = 3600.0

_COLUMNS: Final = """
SELECT attname AS name, atttypid = 'json'::regtype AS is_json FROM pg_attribute
WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped ORDER BY attnum"""

_UNKNOWN: Final = """
CREATE TEMPORARY TABLE unknown_connections ON COMMIT DROP AS
SELECT c.id, c.opened_at, c.closed_at FROM {live}.connections c WHERE c.opened_at < $1
    OR c.session_id IN (SELECT s.id FROM {live}.sessions s WHERE s.opened_at < $1)"""
_UNKNOWN_INDEX: Final = "CREATE UNIQUE INDEX ON unknown_connections (id, opened_at)"
_UNTIL: Final = """
SELECT date_trunc('hour', greatest($1::timestamptz + $2::text::interval, max(opened_at), max(closed_at)))
    + interval '1 hour'
FROM unknown_connections"""

_IS_UNKNOWN: Final = "{0} IN (SELECT id FROM unknown_connections)"
_OF_THEIR_CHANNELS: Final = """{0} IN (SELECT u.channel FROM {{live}}.subscriptions u
    JOIN unknown_connections k ON k.id = u.connection)"""
_DEPENDS: Final = {
    "sessions": "COALESCE(l.id, s.id) IN (SELECT c.session_id FROM {beside}.connections c "
    "JOIN unknown_connections k ON k.id = c.id) OR " + _IS_UNKNOWN.format("COALESCE(l.id, s.id)"),
    "connections": _IS_UNKNOWN.format("COALESCE(l.id, s.id)"),
    "subscriptions": _IS_UNKNOWN.format("COALESCE(l.connection, s.connection)"),
    "timeline": _IS_UNKNOWN.format("COALESCE(l.connection, s.connection)"),
    "channels": _OF_THEIR_CHANNELS.format("COALESCE(l.name, s.name)"),
    "channel_hours": _OF_THEIR_CHANNELS.format("COALESCE(l.channel, s.channel)"),
    "channel_days": _OF_THEIR_CHANNELS.format("COALESCE(l.channel, s.channel)"),
    "user_devices": """EXISTS (SELECT FROM {live}.user_devices o WHERE o.first_seen < $1
        AND o.user_id = COALESCE(l.user_id, s.user_id) AND o.session_key = COALESCE(l.session_key, s.session_key)
        AND o.client_name = COALESCE(l.client_name, s.client_name))""",
    "drops": "COALESCE(l.at, s.at) < $2",
    "drop_codes": "COALESCE(l.at, s.at) < $2",
    "drop_versions": "COALESCE(l.at, s.at) < $2",
    "openings": "COALESCE(l.at, s.at) < $2",
    "opening_versions": "COALESCE(l.at, s.at) < $2",
    "refusal_counts": "COALESCE(l.at, s.at) < date_trunc('hour', $1) + interval '1 hour'",
}
"""By table: which rows depend on facts before $1, besides rows that began before it; $2: until when counts depend on
them."""

_BEFORE_ERASURE: Final = "{0} <= (SELECT max(at) FROM {{live}}.erasures)"
_MORE: Final = 'l."count" > COALESCE(s."count", 0) AND ' + _BEFORE_ERASURE.format("l.at")
_OF_ERASED: Final = {
    "drops": _MORE,
    "drop_codes": _MORE,
    "drop_versions": _MORE,
    "openings": _MORE,
    "opening_versions": _MORE,
    "refusal_counts": _MORE,
    "channel_hours": "(s.here IS NULL OR l.peak >= s.peak AND l.last >= s.last AND l.subscriptions >= s.subscriptions)"
    " AND " + _BEFORE_ERASURE.format("l.hour"),
    "channel_days": "(s.here IS NULL OR l.peak >= s.peak AND l.subscriptions >= s.subscriptions)"
    " AND " + _BEFORE_ERASURE.format("l.day"),
    "channels": "(s.here IS NULL OR l.subscribers = s.subscribers AND l.peak >= s.peak AND l.last_at >= s.last_at"
    " AND l.subscriptions >= s.subscriptions) AND " + _BEFORE_ERASURE.format("l.first_at"),
    "edges": "(s.here IS NULL OR ROW(l.edge, l.software, l.started_at, l.draining_at, l.stopped_at, l.lost_at,"
    " l.hung_at, l.found_at, l.times_hung) IS NOT DISTINCT FROM ROW(s.edge, s.software, s.started_at, s.draining_at,"
    " s.stopped_at, s.lost_at, s.hung_at, s.found_at, s.times_hung)"
    " AND l.first_at <= s.first_at AND l.last_at >= s.last_at AND l.opened >= s.opened AND l.ended >= s.ended)"
    " AND " + _BEFORE_ERASURE.format("l.first_at"),
}
"""By table of counts: how a live row differs if it counts an erased user. An erasure leaves counts as they are, as they
name nobody. But it removes the facts from the log, so a fold counts without them."""


class Difference(NamedTuple):
    """A row that differs: its key, and its columns in the live table and by the log. A side that does not have the row
    is None."""

    key: dict[str, Any]
    live: dict[str, Any] | None
    folded: dict[str, Any] | None


class Comparison(NamedTuple):
    """The comparison of one table: the number of rows that were compared, of those that differ (some are shown), of
    those that were not compared, because they are older than the log or depend on older rows, and of counts that differ
    only by an erasure."""

    table: str
    rows: int
    differing: int
    older: int
    of_erased: int
    examples: list[Difference]


@asynccontextmanager
async def tables_at_once(pool: Pool, schemas: Beside) -> AsyncIterator[TablesAtOnce]:
    """Both schemas as they are now, however long the comparison takes. Raises `StoreAway`."""
    async with pool.database() as database, database.transaction(isolation="repeatable_read"):
        await database.fetchval("SELECT count(*) FROM projections")  # the first statement takes the snapshot
        yield TablesAtOnce(database, schemas)


class TablesAtOnce:
    """The tables of both schemas, in the snapshot of `database`."""

    def __init__(self, database: Database, schemas: Beside) -> None:
        self._database = database
        self._schemas = schemas

    async def compare(
        self, tables: Sequence[ModelTable], since_ms: int | None, resume_window_s: float
    ) -> list[Comparison]:
        """Compares each table. `since_ms`: from when on the log is complete, in Unix milliseconds; None: always."""
        times: list[datetime] = []
        if since_ms is not None:
            since = moment(since_ms)
            await self._database.execute(
                self._filled(_UNKNOWN).replace("$1", f"'{since.isoformat()}'::timestamptz"), timeout=_LONG_S
            )
            await self._database.execute(_UNKNOWN_INDEX, timeout=_LONG_S)
            window = f"{resume_window_s:f} seconds"
            until = await self._database.fetchval(_UNTIL, since, window)
            times = [since, until]
        return [await self._compare(table, times) for table in tables]

    async def _compare(self, table: ModelTable, times: list[datetime]) -> Comparison:
        found = await self._database.fetch(_COLUMNS, f"{self._schemas.live}.{table.name}")
        columns = [(_quoted(row["name"]), row["is_json"]) for row in found if row["name"] not in table.aside]
        joined = self._joined(table, columns, bool(times))
        totals = await self._database.fetchrow(
            f"{joined} SELECT count(*) FILTER (WHERE NOT older), count(*) FILTER (WHERE older), "
            "count(*) FILTER (WHERE NOT older AND differs AND NOT of_erased), "
            "count(*) FILTER (WHERE NOT older AND differs AND of_erased) FROM joined",
            *times,
            timeout=_LONG_S,
        )
        assert totals is not None
        rows, older, differing, of_erased = totals
        examples: list[Difference] = []
        if differing:
            which = f"NOT older AND differs AND NOT of_erased ORDER BY place LIMIT {MAX_EXAMPLES}"
            question = f"{joined} SELECT live, folded FROM joined WHERE {which}"
            shown = await self._database.fetch(question, *times, timeout=_LONG_S)
            keys = table.key or tuple(name.strip('"') for name, _ in columns)
            examples = [_difference(keys, row["live"], row["folded"]) for row in shown]
        return Comparison(table.name, rows, differing, older, of_erased, examples)

    def _joined(self, table: ModelTable, columns: Sequence[tuple[str, bool]], is_cut: bool) -> str:
        """A WITH clause whose table `joined` has both sides of each row."""
        key = [_quoted(name) for name in table.key] or [name for name, _ in columns]
        chosen = ", ".join(f"{name}::text AS {name}" if is_json else name for name, is_json in columns)
        which = ' WHERE "count" <> 0' if table.counted else ""
        values = [name for name, _ in columns if name not in key]
        if table.aside:
            chosen, which, values = f"{chosen}, count(*) AS rows", f" GROUP BY {', '.join(key)}", ["rows"]
        began = _quoted(table.began)
        older = f"COALESCE(l.{began} < $1, false) OR COALESCE(s.{began} < $1, false)"
        if is_cut and table.name in _DEPENDS:
            older += f" OR ({self._filled(_DEPENDS[table.name])})"
        if is_cut and "$2" not in older:
            older += " OR $2::timestamptz IS NULL"
        same = " AND ".join(f"l.{name} = s.{name}" for name in key)
        mine, theirs = (", ".join(f"{side}.{name}" for name in values) for side in "ls")
        differs = "l.here IS NULL OR s.here IS NULL"
        if values:
            differs += f" OR ROW({mine}) IS DISTINCT FROM ROW({theirs})"
        of_erased = self._filled(_OF_ERASED.get(table.name, "false"))
        place = ", ".join(f"COALESCE(l.{name}, s.{name})" for name in key)
        return f"""
WITH l AS (SELECT {chosen}, true AS here FROM {self._schemas.live}.{table.name}{which}),
s AS (SELECT {chosen}, true AS here FROM {self._schemas.beside}.{table.name}{which}),
joined AS (
    SELECT {older if is_cut else "false"} AS older, {differs} AS differs,
        COALESCE(l.here AND {of_erased}, false) AS of_erased, ROW({place}) AS place,
        CASE WHEN l.here THEN row_to_json(l) END AS live, CASE WHEN s.here THEN row_to_json(s) END AS folded
    FROM l FULL JOIN s ON {same}
)"""

    def _filled(self, statement: str) -> str:
        return statement.format(live=self._schemas.live, beside=self._schemas.beside)


def _quoted(name: str) -> str:
    return f'"{name}"'


def _difference(keys: Sequence[str], live: str | None, folded: str | None) -> Difference:
    sides: list[dict[str, Any] | None] = [None if one is None else msgspec.json.decode(one) for one in (live, folded)]
    there = next(one for one in sides if one is not None)
    for side in sides:
        if side is not None:
            side.pop("here", None)
    return Difference({key: there[key] for key in keys}, sides[0], sides[1])
