"""The edges that are alive, according to their heartbeats. Reads no clock: the time is passed in as a function.

An edge whose heartbeat is late is *suspect*: `FailureDetector` probes it, and reports what it found. An edge is *lost*
when its heartbeat said that it leaves, when it was declared lost, or when `sweep` finds that it has been silent for
`GONE_AFTER_S`. Only these calls make an edge lost: between two sweeps a late edge still counts as alive, so that the
failure detector can first rule out that this edge itself is the late one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final, Protocol

import msgspec

from proto.telemetry import LOST_AFTER_S, Heartbeat, decode_heartbeat
from services.chassis.process.log_fields import about

log = logging.getLogger(__name__)

MAX_EDGES: Final = 4096
SUSPECT_AFTER_S: Final = 1.5
"""One and a half heartbeats: a suspicion costs a probe, and a killed edge is found in less than two seconds."""
GONE_AFTER_S: Final = LOST_AFTER_S - 0.6
"""The bound on ghosts counts from an edge's end, so this leaves time for the watch, which looks four times a second."""


class ClusterEvents(Protocol):
    """Receives events about the other edges. Called in the same step as the event; must not block."""

    def edge_found(self, instance: str) -> None:
        """An edge is alive that was not known, or that was lost."""

    def edge_returned(self, instance: str) -> None:
        """An edge that counted as alive all the time was cut off, and is connected again: its messages were lost."""

    def edge_lost(self, instance: str) -> None:
        """An edge is gone, and every connection that it held."""


class _Edge:
    """What is known of one edge."""

    __slots__ = ("beat", "heard", "suspected")

    def __init__(self, beat: Heartbeat, heard: float) -> None:
        self.beat = beat
        self.heard = heard  # the last sign of life
        self.suspected = False  # whether a request found no responder since the last sign of life


class Cluster:
    """Takes every edge's heartbeats. `now` is any clock in seconds.

    `own` is this edge's instance: `edges` lists it with the others, but it is never suspect or lost, and causes no
    events.
    """

    def __init__(self, now: Callable[[], float], own: str = "") -> None:
        self.own = own
        self._now = now
        self._edges: dict[str, _Edge] = {}
        self._listeners: list[ClusterEvents] = []

    def listen(self, events: ClusterEvents) -> None:
        """From now on `events` gets events as well, after the listeners that were added before."""
        self._listeners.append(events)

    # --- signs of life -----------------------------------------------------------------------------------------------

    def heard(self, data: bytes) -> None:
        """Takes a heartbeat as it came from NATS. Ignores a message that is not a heartbeat."""
        try:
            beat = decode_heartbeat(data)
        except msgspec.DecodeError as error:
            log.debug("ignoring a heartbeat: %s", error)
            return
        if beat.leaving and beat.instance != self.own:
            if beat.instance in self._edges:
                log.info("another edge has left", extra=about(edge=beat.name, instance=beat.instance))
            self._remove(beat.instance)
            return
        known = self._edges.get(beat.instance)
        if known is not None:
            known.beat = beat
            self.alive(beat.instance)
            return
        if len(self._edges) < MAX_EDGES:
            self._edges[beat.instance] = _Edge(beat, self._now())
            if beat.instance != self.own:
                log.info("another edge is alive", extra=about(edge=beat.name, instance=beat.instance))
                for events in self._listeners:
                    events.edge_found(beat.instance)

    def alive(self, instance: str) -> None:
        """The edge gave a sign of life, which is as good as a heartbeat. Ignores an edge that is not known."""
        if (edge := self._edges.get(instance)) is not None:
            edge.heard = self._now()
            edge.suspected = False

    def returned(self, instance: str) -> None:
        """The edge is connected again. Ignores an edge that is not known: its heartbeat follows."""
        if instance != self.own and instance in self._edges:
            for events in self._listeners:
                events.edge_returned(instance)

    def suspect(self, instance: str) -> None:
        """A request found no responder: the edge is suspect until its next sign of life."""
        if (edge := self._edges.get(instance)) is not None:
            edge.suspected = True

    def renew(self) -> None:
        """Counts every edge as heard just now: for a while no edge could be heard, whether it was alive or not."""
        for instance in self._edges:
            self.alive(instance)

    # --- living edges ------------------------------------------------------------------------------------------------

    def edges(self) -> list[Heartbeat]:
        """The last heartbeat of each edge that is alive, by name."""
        return sorted((edge.beat for edge in self._edges.values()), key=lambda beat: (beat.name, beat.instance))

    def instances(self) -> list[str]:
        """The other edges that are alive."""
        return [instance for instance in self._edges if instance != self.own]

    def knows(self, instance: str) -> bool:
        """Whether this edge is known to be alive. Unknown edges never cause `edge_lost`."""
        return instance in self._edges

    def suspects(self) -> list[str]:
        """The other edges whose heartbeat is late, or that were suspected."""
        late = self._now() - SUSPECT_AFTER_S
        return [
            instance
            for instance, edge in self._edges.items()
            if instance != self.own and (edge.suspected or edge.heard < late)
        ]

    def room_elsewhere(self) -> bool:
        """Whether another edge that is not suspect has room for clients, according to its last heartbeat."""
        others = self._edges.keys() - {self.own, *self.suspects()}
        return any(self._edges[instance].beat.has_room for instance in others)

    # --- lost edges --------------------------------------------------------------------------------------------------

    def declare_lost(self, instance: str) -> None:
        """The edge is gone, whatever its heartbeats said. The next heartbeat makes it known again."""
        if instance != self.own and (edge := self._edges.get(instance)) is not None:
            silent_s = self._now() - edge.heard
            log.warning(
                "another edge is lost: it has been silent for %.1f s; it was killed, hangs, or cannot reach NATS",
                silent_s,
                extra=about(edge=edge.beat.name, instance=instance),
            )
            self._remove(instance)

    def _remove(self, instance: str) -> None:
        if self._edges.pop(instance, None) is not None:
            for events in self._listeners:
                events.edge_lost(instance)

    def sweep(self) -> None:
        """Declares the edges lost that have been silent for `GONE_AFTER_S`."""
        long_ago = self._now() - GONE_AFTER_S
        for instance in [i for i, edge in self._edges.items() if edge.heard < long_ago]:
            self.declare_lost(instance)
