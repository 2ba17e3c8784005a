"""How many connections ended, and how: by code, version, edge, or by who ended them; over time."""

from __future__ import annotations

from typing import Any, Final, Literal

from msgspec import UNSET, Struct, UnsetType

from proto.events import BY_CLIENT, CLOSED_BY_CLIENT
from services.chassis.postgres.pool import Database, Pool
from services.sessions.queries.periods import COUNTED, MINUTE_S, STEP, Period, Point, filled

DropsBy = Literal["code", "version", "edge", "by"]
_COLUMNS: Final[dict[str, tuple[str, str]]] = {
    "code": ("drop_codes", 'code, "by"'),
    "version": ("drop_versions", "client_name, client_version"),
    "edge": ("drops", "edge"),
    "by": ("drop_codes", '"by"'),
}
"""For each way to count: the table with the fewest rows that has these columns, and the columns."""

MAX_GROUPS: Final = 200

GOODBYE: Final = f"""("by" = '{BY_CLIENT}' OR code IN ({", ".join(map(str, sorted(CLOSED_BY_CLIENT)))}))"""
"""The condition for ends that the client itself wanted. All others are drops."""


class DropCount(Struct):
    """A group of ends of connections. Codes are also told apart by who ended the connection: 1006 of a broken network
    and 1006 of a dead edge are two things."""

    count: int
    code: int | UnsetType = UNSET
    by: str | UnsetType = UNSET
    edge: str | UnsetType = UNSET
    client_name: str | UnsetType = UNSET
    client_version: str | UnsetType = UNSET


class Drops(Struct):
    """Ends of connections in a period: their number (`total`), the greatest groups first, and the curve.

    `goodbyes` is the number of ends that the client wanted. Everything else includes them only if `with_goodbyes`.
    """

    period: Period
    by: DropsBy
    total: int
    goodbyes: int
    with_goodbyes: bool
    groups: list[DropCount]
    step_s: int
    curve: list[Point]


class DropCounts:
    """Asks for counts of ends."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def ask(
        self, period: Period, by: DropsBy = "code", *, code: int | None = None, with_goodbyes: bool = False
    ) -> Drops:
        """The ends in this period, rounded to whole minutes; with one code or all. At most `MAX_GROUPS` groups."""
        period = period.rounded(MINUTE_S)
        async with self._pool.database() as database, database.transaction(isolation="repeatable_read", readonly=True):
            groups = await _groups(database, period, by, code, with_goodbyes)
            total, goodbyes = await database.fetchrow(
                f"""SELECT coalesce(sum(count) FILTER (WHERE $8 OR NOT {GOODBYE}), 0)::bigint,
                    coalesce(sum(count) FILTER (WHERE {GOODBYE}), 0)::bigint
                FROM drop_codes WHERE {COUNTED} AND ($7::int IS NULL OR code = $7)""",
                *period.counted,
                code,
                with_goodbyes,
            ) or (0, 0)
            curve = await database.fetch(
                f"""SELECT {STEP}, sum(count)::bigint FROM drop_codes
                WHERE {COUNTED} AND ($8::int IS NULL OR code = $8) AND ($9 OR NOT {GOODBYE}) GROUP BY 1""",
                *period.counted_up_to(period.step_s),
                period.step_s,
                code,
                with_goodbyes,
            )
        points = filled(period, dict(map(tuple, curve)))
        return Drops(period, by, total, goodbyes, with_goodbyes, groups, period.step_s, points)


async def _groups(
    database: Database, period: Period, by: DropsBy, code: int | None, with_goodbyes: bool
) -> list[DropCount]:
    table, columns = _COLUMNS[by]
    rows = await database.fetch(
        f"""SELECT {columns}, sum(count)::bigint AS count FROM {table}
        WHERE {COUNTED} AND ($7::int IS NULL OR code = $7) AND ($8 OR NOT {GOODBYE})
        GROUP BY {columns} HAVING sum(count) > 0 ORDER BY sum(count) DESC, {columns} LIMIT {MAX_GROUPS}""",
        *period.counted,
        code,
        with_goodbyes,
    )
    made: list[dict[str, Any]] = [dict(row) for row in rows]
    return [DropCount(**one) for one in made]
