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
# new pod, changes it if no edge runs this software yet, and the latest one to start runs another. So an edge that is
# added, or starts again after a crash, while others are replaced one by one is no change. Of successive changes to the
# same software the first is the deploy.
_DEPLOY: Final = """
WITH starts AS (
    SELECT started_at AS at, instance, edge, software,
        lag(software) OVER (PARTITION BY edge ORDER BY started_at, instance) AS replaced,
        lag(software) OVER (ORDER BY started_at, instance) AS latest,
        max(COALESCE(stopped_at, lost_at, 'infinity')) OVER (
            PARTITION BY software ORDER BY started_at, instance ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ) AS runs_until
    FROM edges WHERE started_at IS NOT NULL AND started_at <= $1
), changes AS (
    SELECT at, instance, edge, software, COALESCE(replaced, latest) AS before,
        lag(software) OVER (ORDER BY at, instance) AS change_before
    FROM starts
    WHERE software <> COALESCE(replaced, latest) AND (replaced IS NOT NULL OR COALESCE(runs_until <= at, true))
)
SELECT at, software, before, edge FROM changes WHERE change_before IS DISTINCT FROM software
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
    before, or that the others run if it is new."""

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
