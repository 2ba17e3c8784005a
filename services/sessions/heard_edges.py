"""Keeps when each edge was heard last, so that a new process of this service knows it even if an edge and the old
process died together.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple, Protocol

from services.sessions.edge_silence import MAX_INSTANCES, Sighting
from services.sessions.store import StoreAway

INTERVAL_S: Final = 0.5
"""The least time between two writes. A heartbeat that comes after a longer pause is written at once."""

_TRIES: Final = 7200
"""Writes between two removals of old rows: an hour or more."""


class Heard(NamedTuple):
    """The edge process `instance`, of the edge of this name, was heard at `at`, in Unix milliseconds."""

    instance: str
    edge: str
    at: int


class HeardTable(Protocol):
    """Where these times are kept: `heard_edges_postgres`. Every method raises `StoreAway`."""

    async def keep(self, heard: Sequence[Heard]) -> None:
        """Writes these in one statement. A stored moment never goes back."""

    async def recall(self, instances: Sequence[str]) -> Mapping[str, Sighting]:
        """What is stored about each of `instances`, by instance."""

    async def forget(self) -> None:
        """Removes rows that are too old to matter."""


class HeardEdges:
    """Gathers what is heard, and writes it in a separate task, which holds up nothing else."""

    def __init__(self, table: HeardTable) -> None:
        self._table = table
        self._waiting: dict[str, Heard] = {}
        self._any = asyncio.Event()

    def heard(self, instance: str, edge: str, at: int) -> None:
        """A heartbeat was heard. If `MAX_INSTANCES` edges wait to be written already, new ones are left out."""
        if instance in self._waiting or len(self._waiting) < MAX_INSTANCES:
            self._waiting[instance] = Heard(instance, edge, at)
            self._any.set()

    async def recall(self, instances: Sequence[str]) -> Mapping[str, Sighting]:
        """When any instance of this service heard each of `instances` last, and the time of its last fact. Raises
        `StoreAway`."""
        return await self._table.recall(instances)

    async def run(self) -> None:
        """Writes until cancelled. If PostgreSQL cannot be reached, a later write has the newest times."""
        tries = 0
        while True:
            await self._any.wait()
            self._any.clear()
            try:
                await self.write()
                if tries % _TRIES == 0:
                    await self._table.forget()
                tries += 1
            except StoreAway:
                self._any.set()  # the projector logs why
            await asyncio.sleep(INTERVAL_S)

    async def write(self) -> None:
        """Writes what waits. Raises `StoreAway`."""
        taken, self._waiting = self._waiting, {}
        try:
            if taken:
                await self._table.keep([taken[name] for name in sorted(taken)])  # two writers take locks in one order
        except StoreAway:
            self._waiting = taken | self._waiting
            raise
