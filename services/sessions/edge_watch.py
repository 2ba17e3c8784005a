"""Writes to the session log that an edge is lost, or found again.

The facts about one edge have a writer of their own, whose batches are numbered on from the last applied one: odd
numbers for lost, even ones for found; an edge that is lost twice in a row skips the even number. Two instances of this
service that notice the same event therefore write the same batch, which is stored once.

The moment of a loss is when any instance heard the edge last (`heard_edges`). It must not be later than the first
return of one of its clients on another edge: the sessions of such clients would be split in two.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Final

import msgspec

from proto.events import EdgeFound, EdgeLost, EventBatch
from proto.telemetry import LOST_AFTER_S, decode_heartbeat
from services.chassis.process.complaint import Complaint
from services.chassis.process.log_fields import about
from services.sessions.edge_silence import EdgeSilence
from services.sessions.heard_edges import HeardEdges
from services.sessions.log_nats import LogAway, SessionLog
from services.sessions.store import Store, StoreAway
from services.sessions.values import WATCH_WRITER, label, name_of

log = logging.getLogger(__name__)

_INTERVAL_S = 1.0

_INTERRUPTED: Final = (
    "an edge with open connections is lost: it has been silent for %.1f s, and its sessions are interrupted"
)
_IDLE: Final = "an edge without connections is lost: it has been silent for %.1f s"


class EdgeWatch:
    """Listens to heartbeats and looks for lost edges once a second.

    `caught_up` returns whether the store has everything that was in the log a moment ago. Until then nobody knows which
    edges have open connections. `problem`: why lost edges cannot be found or reported now, None if they can.
    """

    def __init__(
        self,
        silence: EdgeSilence,
        session_log: SessionLog,
        store: Store,
        heard_edges: HeardEdges,
        name: str,
        caught_up: Callable[[], bool],
    ) -> None:
        self._silence = silence
        self._log = session_log
        self._store = store
        self._heard_edges = heard_edges
        self._name = name
        self._caught_up = caught_up
        self._told: set[tuple[str, bool]] = set()  # instances that are lost, or found (True), and not yet in the store
        self._complaint = Complaint()
        self.problem: str | None = None

    def heard(self, data: bytes) -> None:
        """Handles a message on the subject of the edges' heartbeats."""
        try:
            heartbeat = decode_heartbeat(data)
        except (msgspec.DecodeError, RecursionError):
            return
        at = moment_of(heartbeat.at, int(time.time() * 1000))
        instance, name = name_of(heartbeat.instance), label(heartbeat.name)  # as the rows have them
        self._silence.heard(instance, time.monotonic(), at, name)
        self._heard_edges.heard(instance, name, at)

    async def run(self) -> None:
        """Looks for lost and found edges once a second, until cancelled."""
        while True:
            await asyncio.sleep(_INTERVAL_S)
            self._silence.tick(time.monotonic())
            if self._caught_up():
                await self.look()

    async def look(self) -> None:
        """Looks once. A fact that cannot be written now is written by a later look."""
        try:
            await self._look()
        except (StoreAway, LogAway) as error:
            self.problem = f"lost edges, which cannot be found or reported: {error}"
            if self._complaint.due(str(error), time.monotonic()):
                log.warning("lost edges cannot be found or reported now, trying again: %s", error)
        else:
            self.problem = None

    async def _look(self) -> None:
        open_instances = await self._store.open_instances()
        watched = open_instances | await self._store.running_instances()
        numbers = await self._store.writers(WATCH_WRITER)
        lost = {name.removeprefix(WATCH_WRITER) for name, number in numbers.items() if number % 2}
        now, wall_ms = time.monotonic(), int(time.time() * 1000)
        if suspects := self._silence.suspects(watched, now):
            self._silence.recall(await self._heard_edges.recall(suspects))
        again = self._silence.lost_again(open_instances & lost, now, wall_ms)
        gone = self._silence.lost(watched - lost, now, wall_ms) | again
        back = self._silence.found(lost, now)
        self._told &= {*((instance, False) for instance in gone), *((instance, True) for instance in back)}
        for instance, last_heard_ms in gone.items():
            if self._is_news(instance, False):
                log.warning(
                    _INTERRUPTED if instance in open_instances else _IDLE,
                    (wall_ms - last_heard_ms) / 1000,
                    extra=about(edge=self._silence.name_of(instance), instance=instance),
                )
            await self._write(
                instance, numbers, EdgeLost(at=last_heard_ms, instance=instance), 2 if instance in again else 1
            )
        for instance in back:
            if self._is_news(instance, True):
                fields = about(edge=self._silence.name_of(instance), instance=instance)
                log.warning("an edge that counted as lost is heard again", extra=fields)
            await self._write(instance, numbers, EdgeFound(at=wall_ms, instance=instance), 1)

    def _is_news(self, instance: str, found: bool) -> bool:
        told = (instance, found) in self._told
        self._told.add((instance, found))
        return not told

    async def _write(self, instance: str, numbers: dict[str, int], fact: EdgeLost | EdgeFound, step: int) -> None:
        writer = WATCH_WRITER + instance
        number = numbers.get(writer, 0) + step
        await self._log.append(EventBatch(edge=self._name, instance=writer, number=number, events=[fact]))


def moment_of(sent_ms: int, received_ms: int) -> int:
    """When an edge was alive, by its heartbeat: the time in the heartbeat, by the clock of the edge's facts, if that
    can be true. A heartbeat that arrives late must not let the edge live on."""
    return sent_ms if received_ms - LOST_AFTER_S * 1000 <= sent_ms <= received_ms else received_ms
