"""The runs of edge processes: when each began, hung, drained, stopped or was lost; when the software last changed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final, Literal

from msgspec import Struct

from services.chassis.postgres.pool import Pool
from services.sessions.queries.periods import Period
from services.sessions.queries.places import EdgePlace

EdgeState = Literal["running", "draining", "stopped", "lost"]

_FIELDS: Final = (
    "instance, edge, software, first_at, last_at, started_at, draining_at, stopped_at, lost_at, opened, ended, "
    "hung_at, found_at, times_hung"
)
_RUNS: Final = f"SELECT {_FIELDS} FROM edges"
_BEGAN: Final = "least(started_at, first_at)"
_DURING: Final = f"""
{_RUNS} WHERE first_at < $2 AND (last_at >= $1 OR lost_at >= $1 OR stopped_at IS NULL AND lost_at IS NULL) {{after}}
ORDER BY {_BEGAN} DESC, instance DESC LIMIT $3"""
_FIRST_PAGE: Final = _DURING.format(after="")
_NEXT_PAGE: Final = _DURING.format(after=f"AND ({_BEGAN}, instance) < ($4, $5)")

# A start changes the software if the edge of that name ran another before. An edge with a new name, such as that of a
# new pod, changes it if no edge runs this software then, and the latest one to start of those that run has another. An
# edge that was away when a software was new the last time counts like a new one. So an edge that is added, or starts
# again after a crash, while others are replaced one by one is no change. Of successive changes to the same software the
# first is the deploy, and again the first after all edges with that software had ended.
_DEPLOY: Final = """
WITH runs AS (
    SELECT started_at AS at, COALESCE(stopped_at, lost_at, 'infinity') AS until, instance, edge, software
    FROM edges WHERE started_at <= $1
), starts AS (
    SELECT *, lag(software) OVER same_edge AS replaced, lag(until) OVER same_edge AS replaced_until,
        COALESCE(max(until) OVER (
            PARTITION BY software ORDER BY at, instance ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ) <= at, true) AS is_new
    FROM runs WINDOW same_edge AS (PARTITION BY edge ORDER BY at, instance)
), compared AS (
    SELECT *, replaced_until >= max(at) FILTER (WHERE is_new AND software IS DISTINCT FROM replaced) OVER (
        ORDER BY at, instance ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
    ) AS was_there
    FROM starts
), changes AS (
    SELECT at, instance, edge, software, is_new, lag(software) OVER (ORDER BY at, instance) AS change_before,
        CASE WHEN was_there THEN replaced ELSE (
            SELECT other.software FROM runs AS other WHERE (other.at, other.instance) < (compared.at, compared.instance)
            ORDER BY other.until > compared.at DESC, other.at DESC, other.instance DESC LIMIT 1
        ) END AS before
    FROM compared WHERE software IS DISTINCT FROM replaced AND (is_new OR was_there)
)
SELECT at, software, before, edge FROM changes
WHERE software <> before AND (is_new OR change_before IS DISTINCT FROM software)
ORDER BY at DESC, instance DESC LIMIT 1"""


class EdgeRun(Struct):
    """One run of an edge. `first_at` and `last_at` are its first and last facts; other moments are None if they were
    not, or are not known. `opened` and `ended` count its connections.

    It hung, or was cut off, `times_hung` times: nobody heard it, and it counted as lost until it was heard again. The
    last time that was from `hung_at` to `found_at`. `hung_at` is None if the log does not reach back to it.
    """

    instance: str
    edge: str
    software: str
    first_at: datetime
    last_at: datetime
    started_at: datetime | None
    draining_at: datetime | None
    stopped_at: datetime | None
    lost_at: datetime | None
    opened: int
    ended: int
    hung_at: datetime | None
    found_at: datetime | None
    times_hung: int

    @property
    def state(self) -> EdgeState:
        """What is known of it last."""
        if self.stopped_at is not None:
            return "stopped"
        if self.lost_at is not None:
            return "lost"
        return "running" if self.draining_at is None else "draining"

    @property
    def began_at(self) -> datetime:
        """Its start, or the first that is known of it."""
        return self.first_at if self.started_at is None else min(self.started_at, self.first_at)

    @property
    def ended_at(self) -> datetime | None:
        """When it stopped or was lost."""
        return self.lost_at if self.stopped_at is None else self.stopped_at

    def hung_during(self, at: datetime) -> bool:
        """Whether it is known that it hung at this moment, and was heard again."""
        return self.hung_at is not None and self.found_at is not None and self.hung_at <= at <= self.found_at


class Deploy(Struct):
    """The moment from which edges ran another version of Fairlead: the first of them, and the version that it ran
    before, or that the others ran if it is new or was away when a version was new the last time."""

    at: datetime
    software: str
    before: str
    edge: str


class Edges:
    """Asks about edges."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def during(self, period: Period, limit: int, after: EdgePlace | None = None) -> list[EdgeRun]:
        """Up to `limit` runs of which something is known in this period, latest begun first, from the place `after` on.
        A run that only goes on and has no clients that come or leave writes nothing: it is counted in, and so is one
        that died in silence."""
        values = period.since, period.until, limit
        async with self._pool.database() as database:
            if after is None:
                rows = await database.fetch(_FIRST_PAGE, *values)
            else:
                rows = await database.fetch(_NEXT_PAGE, *values, after.at, after.instance)
        return [EdgeRun(**row) for row in rows]

    async def of(self, instances: Sequence[str]) -> dict[str, EdgeRun]:
        """The runs of these instances, as far as they are known."""
        async with self._pool.database() as database:
            rows = await database.fetch(f"{_RUNS} WHERE instance = ANY($1::text[])", list(instances))
        return {row["instance"]: EdgeRun(**row) for row in rows}

    async def last_deploy(self, until: datetime) -> Deploy | None:
        """The last one up to this moment; None if all starts that are known were with the same software."""
        async with self._pool.database() as database:
            row = await database.fetchrow(_DEPLOY, until)
        return None if row is None else Deploy(**row)
