"""Client names and versions: who is here with which, and how many of their connections were dropped."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from services.chassis.postgres.pool import Database, Pool
from services.sessions.queries.drops_postgres import GOODBYE
from services.sessions.queries.periods import COUNTED, Period

MAX_VERSIONS: Final = 500

_SESSIONS: Final = """
SELECT client_name, client_version, count(*) FROM sessions WHERE ended_at IS NULL GROUP BY 1, 2"""
_OPENED: Final = f"""
SELECT client_name, client_version, sum(count)::bigint FROM openings WHERE {COUNTED} GROUP BY 1, 2"""
_ENDED: Final = f"""
SELECT client_name, client_version, sum(count)::bigint,
    coalesce(sum(count) FILTER (WHERE NOT {GOODBYE}), 0)::bigint
FROM drops WHERE {COUNTED} GROUP BY 1, 2"""

Version = tuple[str, str]


class VersionCounts(Struct):
    """Connections of one version in a period: those opened, those that ended, and of these the dropped ones: all that
    the client did not end itself."""

    opened: int = 0
    ended: int = 0
    dropped: int = 0

    @property
    def drop_rate(self) -> float | None:
        """The dropped of those that ended, from 0 to 1; None if none ended."""
        return self.dropped / self.ended if self.ended else None


class VersionUse(Struct):
    """A version of a client: its sessions that are connected now, and its connections in the period, and before."""

    client_name: str
    client_version: str
    sessions: int
    during: VersionCounts
    before: VersionCounts


class Versions(Struct):
    """All versions that are here or were in the period, or in the one of the same length before it; most used first."""

    period: Period
    versions: list[VersionUse]


class VersionQueries:
    """Asks about versions."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def ask(self, period: Period) -> Versions:
        """The versions of clients in this period and before it. At most `MAX_VERSIONS` of them."""
        async with self._pool.database() as database, database.transaction(isolation="repeatable_read", readonly=True):
            sessions = {(name, version): count for name, version, count in await database.fetch(_SESSIONS)}
            during = await _counts(database, period)
            before = await _counts(database, period.before)
        none = VersionCounts()
        found = [
            VersionUse(one[0], one[1], sessions.get(one, 0), during.get(one, none), before.get(one, none))
            for one in sessions.keys() | during.keys() | before.keys()
        ]
        found.sort(key=lambda one: (-one.sessions, -one.during.opened, one.client_name, one.client_version))
        return Versions(period, found[:MAX_VERSIONS])


async def _counts(database: Database, period: Period) -> dict[Version, VersionCounts]:
    counts: dict[Version, VersionCounts] = {}
    for name, version, opened in await database.fetch(_OPENED, *period.counted):
        counts[name, version] = VersionCounts(opened)
    for name, version, ended, dropped in await database.fetch(_ENDED, *period.counted):
        one = counts.setdefault((name, version), VersionCounts())
        one.ended, one.dropped = ended, dropped
    return counts
