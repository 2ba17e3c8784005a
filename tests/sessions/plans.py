"""Shows how PostgreSQL would find the answer to every statement that a part of the service asks it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, NamedTuple

from services.chassis.postgres.pool import Pool


class Scan(NamedTuple):
    """One node that reads a table: how ("Seq Scan", "Index Scan", ...), which partition, by which index, and how many
    rows it read, those included that it did not need."""

    how: str
    table: str
    by: str
    rows: float


class Plan(NamedTuple):
    """The plan of one statement."""

    statement: str
    scans: list[Scan]

    @property
    def rows(self) -> int:
        """How many rows it read in all."""
        return round(sum(one.rows for one in self.scans))

    def tables(self, name: str) -> set[str]:
        """The partitions of this table that it reads."""
        return {one.table for one in self.scans if one.table.startswith(f"{name}_")}


class ExplainingPool(Pool):
    """A pool whose connections explain each statement, with its values and as it is executed, before they execute it
    for its rows."""

    def __init__(self, url: str) -> None:
        super().__init__(url, 1)
        self.plans: list[Plan] = []

    @asynccontextmanager
    async def database(self) -> AsyncIterator[Any]:
        async with super().database() as database:
            yield _Explaining(database, self.plans)


class _Explaining:
    def __init__(self, database: Any, plans: list[Plan]) -> None:
        self._database = database
        self._plans = plans

    def __getattr__(self, name: str) -> Any:
        return getattr(self._database, name)

    async def fetch(self, statement: str, *values: Any, timeout: float | None = None) -> Any:
        await self._explain(statement, values)
        return await self._database.fetch(statement, *values, timeout=timeout)

    async def fetchrow(self, statement: str, *values: Any) -> Any:
        await self._explain(statement, values)
        return await self._database.fetchrow(statement, *values)

    async def fetchval(self, statement: str, *values: Any) -> Any:
        await self._explain(statement, values)
        return await self._database.fetchval(statement, *values)

    async def cursor(self, statement: str, *values: Any) -> Any:
        """Explains it as if it were read to its end. Needs no transaction."""
        return _Cursor(await self.fetch(statement, *values))

    async def execute(self, statement: str, *values: Any) -> Any:
        if values:
            await self._explain(statement, values)
        return await self._database.execute(statement, *values)

    async def _explain(self, statement: str, values: tuple[Any, ...]) -> None:
        self._plans.append(await plan_of(self._database, statement, *values))


class _Cursor:
    def __init__(self, rows: list[Any]) -> None:
        self._rows = rows

    async def fetch(self, count: int) -> list[Any]:
        portion, self._rows = self._rows[:count], self._rows[count:]
        return portion


async def plan_of(database: Any, statement: str, *values: Any) -> Plan:
    """The plan of a statement: for these values or for all, by `plan_cache_mode`, which EXPLAIN with parameters would
    not heed."""
    literals = [await database.fetchval("SELECT quote_nullable($1::text)", _written(value)) for value in values]
    await database.execute(f"PREPARE explained AS {statement}")
    execute = f"EXECUTE explained({', '.join(literals)})" if literals else "EXECUTE explained"
    trial = database.transaction()
    await trial.start()
    try:
        explained = await database.fetchval(f"EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) {execute}")
    finally:
        await trial.rollback()  # what is explained is executed
        await database.execute("DEALLOCATE explained")
    return Plan(statement, list(_scans(json.loads(explained)[0]["Plan"])))


def _written(value: Any) -> str | None:
    """A value as PostgreSQL reads it from a text."""
    match value:
        case None:
            return None
        case list():
            return "{" + ",".join("NULL" if one is None else _quoted(str(_written(one))) for one in value) + "}"
        case bytes():
            return "\\x" + value.hex()
        case timedelta():
            return f"{value.total_seconds()} seconds"
        case _:
            return str(value)


def _quoted(element: str) -> str:
    escaped = element.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _scans(node: dict[str, Any]) -> Iterator[Scan]:
    if "Relation Name" in node and node["Node Type"] != "ModifyTable":
        passed_over = node.get("Rows Removed by Filter", 0) + node.get("Rows Removed by Index Recheck", 0)
        rows = (node["Actual Rows"] + passed_over) * node["Actual Loops"]
        yield Scan(node["Node Type"], node["Relation Name"], node.get("Index Name", ""), rows)
    elif node["Node Type"] == "Bitmap Index Scan":
        yield Scan(node["Node Type"], "", node["Index Name"], 0)
    for one in node.get("Plans", ()):
        yield from _scans(one)
