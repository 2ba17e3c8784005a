"""Aggregates the heartbeats of all processes. Pure: times are arguments, in seconds of one monotonic clock.

*Gauges* are sums over the processes that are alive; an instance that has been silent for `lost_after_s` is left out.
*Counters* add up the increments of each instance between two heartbeats, so they survive its restart and never fall.
What an instance counted before this process began to listen is not added, since it would look like a burst.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable
from typing import Final, NamedTuple

from proto.telemetry import EdgeLoad, Heartbeat, SessionsLoad
from services.metrics.drains import Drains

MAX_INSTANCES: Final = 4096
"""How many process instances are remembered, alive or not; beyond that the ones that have been silent for longest are
forgotten."""

MAX_NAMES: Final = 1024
"""How many process names have counters of their own; beyond that the names heard longest ago lose them. The totals
stay."""

EDGE_COUNTERS: Final = ("messages_in", "messages_out", "bytes_out", "publishes", "accepted")
_SETTLING_S: Final = 2.0  # a process that started at about the same time as this one was heard from its start on


class Member(NamedTuple):
    """A process: its last heartbeat, and when it arrived."""

    heard: float
    beat: Heartbeat


class Counts(defaultdict[str, float]):
    """Sums by counter name, which never fall."""

    def __init__(self) -> None:
        super().__init__(float)


class Aggregator:
    """The figures of all processes. `started` is when this process began to listen. An instance that has been silent
    for `lost_after_s` counts as gone."""

    def __init__(self, lost_after_s: float, started: float) -> None:
        self._lost_after_s = lost_after_s
        self._started = started
        self._members: dict[str, Member] = {}  # by instance, the one heard longest ago first
        self._counted: dict[str, dict[str, float]] = {}  # by instance: its counters when last heard
        self._hears_since = started
        self._lost: set[str] = set()  # instances that are counted in `edges_lost`
        self.edges_lost = 0
        self.drains = Drains()
        self.whole = Counts()
        self.by_name: dict[tuple[str, str], Counts] = {}  # (service, name), the one heard longest ago first

    def heard(self, beat: Heartbeat, now: float) -> None:
        """Adds a heartbeat that arrived at `now`."""
        known = self._counted.pop(beat.instance, None)
        self._members.pop(beat.instance, None)
        self._lost.discard(beat.instance)
        if len(self._counted) >= MAX_INSTANCES:
            forgotten = next(iter(self._counted))
            del self._counted[forgotten]
            self._members.pop(forgotten, None)
        counters = _counters_of(beat)
        if known is None:
            unheard = beat.process.uptime_s > now - self._started + _SETTLING_S
            known = dict(counters) if unheard else {}
        self._counted[beat.instance] = {name: max(value, known.get(name, 0)) for name, value in counters.items()}
        self._members[beat.instance] = Member(now, beat)
        self.drains.heard(beat, now)
        own = self.by_name.pop((beat.service, beat.name), None) or Counts()
        if len(self.by_name) >= MAX_NAMES:
            del self.by_name[next(iter(self.by_name))]
        self.by_name[beat.service, beat.name] = own
        for name, value in counters.items():
            delta = max(0.0, value - known.get(name, 0))
            own[name] += delta
            self.whole[f"{beat.service}_{name}"] += delta

    def alive(self, now: float) -> list[Heartbeat]:
        """The last heartbeats of the processes that are alive, by service, name and instance."""
        beats = [one.beat for one in self._members.values() if now - one.heard < self._lost_after_s]
        return sorted(beats, key=lambda beat: (beat.service, beat.name, beat.instance))

    def listens(self, now: float) -> None:
        """Notes that heartbeats are heard (again) from `now` on."""
        self._hears_since = now

    def hears_nobody(self) -> None:
        """Notes that no heartbeats are heard from now on, since NATS is away."""
        self._hears_since = math.inf

    def count_lost(self, now: float) -> list[Member]:
        """Counts the edges that have fallen silent without a last heartbeat in `edges_lost`, and returns them. Call it
        every second.

        No edge is lost while this service is disconnected from NATS, nor until the edges have had time to reconnect
        too.
        """
        if now - self._hears_since < 2 * self._lost_after_s:
            return []
        lost: list[Member] = []
        for instance, one in self._members.items():
            silent = now - one.heard >= self._lost_after_s
            if silent and one.beat.edge is not None and not one.beat.leaving and instance not in self._lost:
                self._lost.add(instance)
                self.edges_lost += 1
                lost.append(one)
                self.drains.fell_silent(instance)
        self._lost &= self._members.keys()
        self.drains.forget(self._members.keys())
        return lost

    def forget(self, now: float, after_s: float) -> None:
        """Drops the counters of names that have not been heard for `after_s`, as edges come and go under new names."""
        recent = {(one.beat.service, one.beat.name) for one in self._members.values() if now - one.heard < after_s}
        self.by_name = {key: counts for key, counts in self.by_name.items() if key in recent}
        for instance in [key for key, one in self._members.items() if now - one.heard >= after_s]:
            del self._members[instance]


def _counters_of(beat: Heartbeat) -> dict[str, float]:
    counters = {"cpu_s": beat.process.cpu_s}
    if beat.edge is not None:
        counters |= {name: getattr(beat.edge, name) for name in EDGE_COUNTERS}
    if beat.sessions is not None:
        counters["events_applied"] = beat.sessions.events_applied
    return {name: max(0.0, value) for name, value in counters.items()}


def edge_loads(beats: Iterable[Heartbeat]) -> list[tuple[str, EdgeLoad]]:
    """Edge name and load of each edge process among `beats`."""
    return [(beat.name, beat.edge) for beat in beats if beat.edge is not None]


def imbalance(beats: Iterable[Heartbeat]) -> float:
    """The most connections of one edge, divided by the mean of all edges that do not drain. 1 is even, and the value
    without connections."""
    counts = [load.connections for _, load in edge_loads(beats) if load.drain_left is None]
    total = sum(counts)
    return max(counts) * len(counts) / total if total else 1.0


def sessions_load(beats: Iterable[Heartbeat]) -> SessionsLoad | None:
    """The figures of the sessions service, from the instance that has come furthest; None without any."""
    loads = [beat.sessions for beat in beats if beat.sessions is not None]
    return max(loads, key=lambda load: load.stream_sequence, default=None)
