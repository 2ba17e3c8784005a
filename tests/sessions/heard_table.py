"""What was heard of edges, in memory: the table for tests of the watch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from services.sessions.edge_silence import Sighting
from services.sessions.heard_edges import Heard


class HeardInMemory:
    """A `heard_edges.HeardTable`. `facts`: by instance, the time of its last fact."""

    def __init__(self) -> None:
        self.rows: dict[str, Heard] = {}
        self.facts: dict[str, int] = {}

    async def keep(self, heard: Sequence[Heard]) -> None:
        for one in heard:
            if one.instance not in self.rows or self.rows[one.instance].at < one.at:
                self.rows[one.instance] = one

    async def recall(self, instances: Sequence[str]) -> Mapping[str, Sighting]:
        found = {}
        for name in instances:
            row = self.rows.get(name)
            found[name] = Sighting(row.edge if row else "", row.at if row else None, self.facts.get(name))
        return found

    async def forget(self) -> None:
        """Nothing is too old in a test."""
