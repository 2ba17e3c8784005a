"""Client names and versions: which are connected, and how many of their connections were dropped."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from services.chassis.postgres.pool import Pool
from services.sessions.queries.drops_postgres import GOODBYE
from services.sessions.queries.periods import COUNTED, MINUTE_S, Period, counted_in

MAX_VERSIONS: Final = 500

_COUNTED_BEFORE: Final = counted_in([f"${number}" for number in range(7, 13)])

# One statement, so that PostgreSQL, and not this process, holds all versions: clients may make up any number of them.
_USED: Final = f"""
SELECT client_name, client_version, sum(sessions)::bigint AS sessions,
    sum(opened)::bigint, sum(ended)::bigint, sum(dropped)::bigint,
    sum(opened_before)::bigint, sum(ended_before)::bigint, sum(dropped_before)::bigint
FROM (
    SELECT client_name, client_version, count(*) AS sessions, 0 AS opened, 0 AS ended, 0 AS dropped,
        0 AS opened_before, 0 AS ended_before, 0 AS dropped_before
    FROM sessions WHERE ended_at IS NULL GROUP BY 1, 2
    UNION ALL SELECT client_name, client_version, 0, count, 0, 0, 0, 0, 0 FROM opening_versions WHERE {COUNTED}
    UNION ALL SELECT client_name, client_version, 0, 0, count, CASE WHEN {GOODBYE} THEN 0 ELSE count END, 0, 0, 0
        FROM drop_versions WHERE {COUNTED}
    UNION ALL SELECT client_name, client_version, 0, 0, 0, 0, count, 0, 0 FROM opening_versions WHERE {_COUNTED_BEFORE}
    UNION ALL SELECT client_name, client_version, 0, 0, 0, 0, 0, count, CASE WHEN {GOODBYE} THEN 0 ELSE count END
        FROM drop_versions WHERE {_COUNTED_BEFORE}
) AS counted GROUP BY 1, 2 ORDER BY 3 DESC, 4 DESC, 7 DESC, 1, 2 LIMIT {MAX_VERSIONS + 1}"""


class VersionCounts(Struct):
    """Connections of one version in a period: those opened, those that ended, and of the latter those that were
    dropped: all that the client did not end itself."""

    opened: int = 0
    ended: int = 0
    dropped: int = 0

    @property
    def drop_rate(self) -> float | None:
        """The dropped of those that ended, from 0 to 1; None if none ended."""
        return self.dropped / self.ended if self.ended else None


class VersionUse(Struct):
    """A version of a client: its sessions that are connected now, and its connections in the period and before it."""

    client_name: str
    client_version: str
    sessions: int
    during: VersionCounts
    before: VersionCounts


class Versions(Struct):
    """All versions that are connected now, or were in the period or in the one of the same length `before` it; most
    used first. `more`: there are others, which are used less."""

    period: Period
    before: Period
    versions: list[VersionUse]
    more: bool


class VersionQueries:
    """Asks about versions."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def ask(self, period: Period) -> Versions:
        """The versions of clients in this period, rounded to whole minutes, and before it. At most `MAX_VERSIONS`."""
        period = period.rounded(MINUTE_S)
        async with self._pool.database() as database:
            rows = await database.fetch(_USED, *period.counted, *period.before.counted)
        versions = [
            VersionUse(name, version, sessions, VersionCounts(*counts[:3]), VersionCounts(*counts[3:]))
            for name, version, sessions, *counts in rows[:MAX_VERSIONS]
        ]
        return Versions(period, period.before, versions, len(rows) > MAX_VERSIONS)
