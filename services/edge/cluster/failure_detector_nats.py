"""Finds the other edges on one NATS, and detects which are gone: heartbeats, roll calls, probes.

The NATS connection of a killed process is gone with it, so NATS itself answers a probe with "no responders". A process
that hangs keeps its connection and stays silent; it is lost once it has been silent for `GONE_AFTER_S`.

An edge that starts later becomes known by its first heartbeat, which it sends before it lets clients in. Edges that run
already become known by their answers to the roll call. One gap is left: an edge that is too busy to answer the roll
call within `_ASSEMBLE_S` is not known, and not asked, until its next heartbeat: for a second at most.

A roll call names the edge that calls. If that edge is known already, it had lost its connection and has it again:
nobody heard what it sent meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from proto import subjects
from proto.control import Probe, encode_request
from services.chassis.nats.link import NatsAway, NatsLink, NobodyAnswers
from services.edge.cluster.cluster import SUSPECT_AFTER_S, Cluster

_WATCH_INTERVAL_S: Final = 0.25
_PROBE: Final = encode_request(Probe())
_PROBE_TIMEOUT_S: Final = 0.3
_FLUSH_TIMEOUT_S: Final = 2.0
"""If NATS hangs for longer, this is noticed before the silence of any edge reaches `GONE_AFTER_S`."""
_RETURN_S: Final = SUSPECT_AFTER_S
_RETURN_RETRY_S: Final = 0.1
_ASSEMBLE_S: Final = 0.15
_QUIET_S: Final = 0.05
_STEP_S: Final = 0.01
_ROLL_CALL_PAUSE_S: Final = 0.01
"""One heartbeat answers all roll calls within this time: when a cluster starts, each edge sends one."""


class FailureDetector:
    """Feeds a `Cluster`. `beat` sends a heartbeat at once. The link must call `on_connected`, `on_disconnected`."""

    def __init__(self, link: NatsLink, cluster: Cluster, beat: Callable[[], None]) -> None:
        self.cluster = cluster
        self._link = link
        self._beat = beat
        self._subscriptions: list[int] = []
        self._assembling: asyncio.Task[None] | None = None
        self._assembled = asyncio.Event()
        self._found_at = 0.0
        self._returned_at: float | None = None
        self._struck: set[str] = set()  # suspects whose last probe found no responder
        self._pause: asyncio.TimerHandle | None = None
        cluster.listen(self)

    # --- finding edges -----------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Returns when this edge and the others know each other. This edge must be able to answer requests already."""
        self._subscriptions = [
            self._link.subscribe(subjects.telemetry_of("edge"), self._hear_heartbeat),
            self._link.subscribe(subjects.ROLL_CALL, self._hear_roll_call),
        ]
        self._begin_assembling()
        await self._assembled.wait()

    def stop(self) -> None:
        """Stops listening, and cancels a roll call that is in progress."""
        for number in self._subscriptions:
            self._link.unsubscribe(number)
        self._subscriptions = []
        self.on_disconnected()
        if self._pause is not None:
            self._pause.cancel()

    def on_connected(self) -> None:
        """The link is connected (again). Heartbeats that were missed meanwhile do not count against the others."""
        if self._subscriptions:
            self.cluster.renew()
            self._returned_at = asyncio.get_running_loop().time()
            self._begin_assembling()

    def on_disconnected(self) -> None:
        """The link is disconnected."""
        self._assembled.clear()
        self._struck.clear()
        if self._assembling is not None:
            self._assembling.cancel()

    async def assembled(self) -> None:
        """Returns when the other edges are known: immediately, except for a moment after a (re)connection."""
        await self._assembled.wait()

    def others_return(self) -> bool:
        """Whether this edge reconnected a moment ago, so that others may still be reconnecting.

        Until they are back, "no responders" proves nothing. The watch need not ask this: it suspects no edge so early.
        """
        return self._returned_at is not None and asyncio.get_running_loop().time() < self._returned_at + _RETURN_S

    def _begin_assembling(self) -> None:
        self.on_disconnected()
        self._assembling = asyncio.get_running_loop().create_task(self._assemble())

    async def _assemble(self) -> None:
        """Sends a roll call, which this edge answers, too, and waits until no further edge is heard."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                self._link.publish(subjects.ROLL_CALL, self.cluster.own.encode())
                await self._link.flush()
                break
            except NatsAway:
                await asyncio.sleep(_RETURN_RETRY_S)
        self._found_at = called_at = loop.time()
        while loop.time() < min(self._found_at + _QUIET_S, called_at + _ASSEMBLE_S):
            await asyncio.sleep(_STEP_S)
        self._assembled.set()

    def _hear_heartbeat(self, subject: bytes, reply: bytes, headers: bytes | None, data: bytes) -> None:
        self.cluster.heard(data)

    def _hear_roll_call(self, subject: bytes, reply: bytes, headers: bytes | None, data: bytes) -> None:
        if self._pause is None:
            self._pause = asyncio.get_running_loop().call_later(_ROLL_CALL_PAUSE_S, self._answer_roll_call)
        self.cluster.returned(data.decode(errors="replace"))

    def _answer_roll_call(self) -> None:
        self._pause = None
        self._beat()

    def edge_found(self, instance: str) -> None:
        """A roll call in progress waits a little longer, for further edges (`ClusterEvents`)."""
        self._found_at = asyncio.get_running_loop().time()

    def edge_returned(self, instance: str) -> None:
        """Means nothing to a roll call (`ClusterEvents`)."""

    def edge_lost(self, instance: str) -> None:
        """Means nothing to a roll call (`ClusterEvents`)."""

    # --- the watch ---------------------------------------------------------------------------------------------------

    async def watch(self) -> None:
        """Detects which edges are gone, until cancelled.

        A killed edge is lost when NATS answers "no responders" twice in a row: a single time could be between two
        connections of the edge.
        """
        while True:
            await asyncio.sleep(_WATCH_INTERVAL_S)
            if self._link.is_connected:
                await self._look()

    async def _look(self) -> None:
        suspects = self.cluster.suspects()
        self._struck.intersection_update(suspects)
        if not suspects:
            return
        try:
            # This edge itself may be late. The answer to a flush comes after all messages that NATS holds for it, so
            # that these are read.
            await self._link.flush(_FLUSH_TIMEOUT_S)
        except NatsAway:
            self.cluster.renew()
            return
        self.cluster.sweep()
        await asyncio.gather(*map(self._probe, self.cluster.suspects()))

    async def _probe(self, instance: str) -> None:
        try:
            await self._link.request(subjects.edge_control(instance), _PROBE, timeout_s=_PROBE_TIMEOUT_S)
        except NobodyAnswers:
            if instance in self._struck:
                self.cluster.declare_lost(instance)
            else:
                self._struck.add(instance)
        except NatsAway:
            self._struck.discard(instance)
        else:
            self.cluster.alive(instance)
