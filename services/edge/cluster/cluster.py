"""The edges that are alive, as their heartbeats say. Reads no clock: the time is handed in as a function.

An edge whose heartbeat is late is *suspect*: whoever watches (`peers_nats`) asks it, and says what became of it. It is
*lost* when it said goodbye, when it was declared so, or when `sweep` finds that nothing was heard of it for
`GONE_AFTER_S`. Nothing is lost on the side: between two sweeps a late edge still counts as alive, so that the watcher
can rule out first that it is we who are late.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final, Protocol

import msgspec

from proto.telemetry import LOST_AFTER_S, Heartbeat, decode_heartbeat

log = logging.getLogger(__name__)

MAX_EDGES: Final = 4096
SUSPECT_AFTER_S: Final = 1.5
"""One and a half heartbeats: a suspicion costs a question, and a killed edge is found in under two seconds."""
GONE_AFTER_S: Final = LOST_AFTER_S - 0.6
"""The bound on ghosts counts from an edge's end, so it has room for the watch, which looks about twice a second."""


class ClusterEvents(Protocol):
    """Who is told of the other edges. Called in the step in which it happens; must not block."""

    def edge_found(self, instance: str) -> None:
        """An edge that was not known before, or one that was lost and is back."""

    def edge_lost(self, instance: str) -> None:
        """An edge is gone, and every connection that it held."""


class _Edge:
    """What is known of one edge."""

    __slots__ = ("accused", "beat", "heard")

    def __init__(self, beat: Heartbeat, heard: float) -> None:
        self.beat = beat
        self.heard = heard  # the last sign of life
        self.accused = False  # somebody found nobody there since


class Cluster:
    """Takes every edge's heartbeats. `now` is any clock in seconds; `own` is this edge's instance, which is listed
    with the others, but neither suspected nor lost nor told of.
    """

    def __init__(self, now: Callable[[], float], own: str = "") -> None:
        self.own = own
        self._now = now
        self._edges: dict[str, _Edge] = {}
        self._listeners: list[ClusterEvents] = []

    def listen(self, events: ClusterEvents) -> None:
        """From now on `events` is told, after those who asked before."""
        self._listeners.append(events)

    # --- what is heard -----------------------------------------------------------------------------------------------

    def heard(self, data: bytes) -> None:
        """A heartbeat as it came from NATS; what is none is ignored."""
        try:
            beat = decode_heartbeat(data)
        except msgspec.DecodeError as error:
            log.debug("a heartbeat is ignored: %s", error)
            return
        if beat.leaving and beat.instance != self.own:
            self.declare_lost(beat.instance)
            return
        known = self._edges.get(beat.instance)
        if known is not None:
            known.beat = beat
            self.alive(beat.instance)
            return
        if len(self._edges) < MAX_EDGES:
            self._edges[beat.instance] = _Edge(beat, self._now())
            if beat.instance != self.own:
                log.info("edge %s (%s) is there", beat.name, beat.instance, extra={"instance": beat.instance})
                for events in self._listeners:
                    events.edge_found(beat.instance)

    def alive(self, instance: str) -> None:
        """It gave a sign of life, which is as good as a heartbeat. An edge that is not known is not made known."""
        if (edge := self._edges.get(instance)) is not None:
            edge.heard = self._now()
            edge.accused = False

    def accuse(self, instance: str) -> None:
        """Somebody found nobody there: it is suspect until its next sign of life."""
        if (edge := self._edges.get(instance)) is not None:
            edge.accused = True

    def renew(self) -> None:
        """Gives every edge its time anew: nothing could be heard for a while, which says nothing of them."""
        for instance in self._edges:
            self.alive(instance)

    # --- who is there ------------------------------------------------------------------------------------------------

    def edges(self) -> list[Heartbeat]:
        """The last heartbeat of each edge that is alive, by name."""
        return sorted((edge.beat for edge in self._edges.values()), key=lambda beat: (beat.name, beat.instance))

    def instances(self) -> list[str]:
        """The other edges that are alive."""
        return [instance for instance in self._edges if instance != self.own]

    def knows(self, instance: str) -> bool:
        """Whether this edge is alive; of any other, nobody would tell that it is gone."""
        return instance in self._edges

    def suspects(self) -> list[str]:
        """Those of `instances` whose heartbeat is late, or who were accused."""
        late = self._now() - SUSPECT_AFTER_S
        return [
            instance
            for instance, edge in self._edges.items()
            if instance != self.own and (edge.accused or edge.heard < late)
        ]

    # --- who is gone -------------------------------------------------------------------------------------------------

    def declare_lost(self, instance: str) -> None:
        """It is gone, whatever its heartbeats said. The next one finds it again."""
        if instance == self.own or (edge := self._edges.pop(instance, None)) is None:
            return
        log.info("edge %s (%s) is gone", edge.beat.name, instance, extra={"instance": instance})
        for events in self._listeners:
            events.edge_lost(instance)

    def sweep(self) -> None:
        """Declares those lost of whom nothing was heard for `GONE_AFTER_S`."""
        long_ago = self._now() - GONE_AFTER_S
        for instance in [i for i, edge in self._edges.items() if edge.heard < long_ago]:
            self.declare_lost(instance)
