"""The table `heard_edges`: when each edge process was heard last, by any instance of this service."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Final

from services.chassis.postgres.pool import Pool
from services.sessions.edge_silence import Sighting
from services.sessions.heard_edges import Heard
from services.sessions.rows_postgres import columns, moment, optional_milliseconds

_KEPT: Final = timedelta(days=30)

# The rows need not survive a crash of PostgreSQL, after which edges are heard again: no commit waits for the disk.
_IN_MEMORY_FIRST: Final = "SET LOCAL synchronous_commit = off"

_KEEP: Final = """
INSERT INTO heard_edges AS h (instance, edge, heard_at)
SELECT * FROM unnest($1::text[], $2::text[], $3::timestamptz[])
ON CONFLICT (instance) DO UPDATE SET edge = excluded.edge, heard_at = excluded.heard_at
WHERE h.heard_at < excluded.heard_at"""

_RECALL: Final = """
SELECT i.instance, h.edge, h.heard_at,
    greatest((SELECT max(opened_at) FROM connections c WHERE c.instance = i.instance AND c.closed_at IS NULL),
             (SELECT max(last_at) FROM edges e WHERE e.instance = i.instance)) AS fact_at
FROM unnest($1::text[]) AS i(instance) LEFT JOIN heard_edges h USING (instance)"""

_FORGET: Final = "DELETE FROM heard_edges WHERE heard_at < now() - $1::interval"


class HeardTable:
    """The `heard_edges.HeardTable` of the service."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def keep(self, heard: Sequence[Heard]) -> None:
        rows = [(one.instance, one.edge, moment(one.at)) for one in heard]
        async with self._pool.database() as database, database.transaction():
            await database.execute(_IN_MEMORY_FIRST)
            await database.execute(_KEEP, *columns(rows, 3))

    async def recall(self, instances: Sequence[str]) -> Mapping[str, Sighting]:
        async with self._pool.database() as database:
            rows = await database.fetch(_RECALL, list(instances))
        return {
            row["instance"]: Sighting(
                row["edge"] or "", optional_milliseconds(row["heard_at"]), optional_milliseconds(row["fact_at"])
            )
            for row in rows
        }

    async def forget(self) -> None:
        async with self._pool.database() as database:
            await database.execute(_FORGET, _KEPT)
