"""What the edges report about themselves during a run, from the heartbeats of `proto.telemetry`. Pure.

Heartbeats are part of the contract, come from each edge itself, and need no other service; the metrics service shows
the same figures. The price is their interval: a figure is up to a second old; `EdgeWatch.fresh_since` checks that.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from proto.telemetry import LOST_AFTER_S, Heartbeat


@dataclass(slots=True)
class _Edge:
    name: str
    latest: Heartbeat
    received_at: float
    loop_lag_s: float = 0.0
    peak_rss_bytes: int = 0


@dataclass(frozen=True, slots=True)
class EdgeUsage:
    """The usage of one edge at one moment: RSS in bytes, CPU seconds since its start."""

    name: str
    rss_bytes: int
    cpu_s: float


Snapshot = dict[str, EdgeUsage]
"""By instance."""


class Change(msgspec.Struct):
    before: float
    after: float
    change: float


class Changes(msgspec.Struct):
    """Changes of each edge by name, and of all edges."""

    edges: dict[str, Change]
    total: Change


class PerConnection(msgspec.Struct):
    rss_bytes: int
    cpu_s: float


class Maxima(msgspec.Struct):
    loop_lag_s: float
    rss_bytes: int


class EdgeWatch:
    """Takes heartbeats as they come. `now` is of any monotonic clock, the same for all calls."""

    def __init__(self) -> None:
        self._edges: dict[str, _Edge] = {}

    def receive(self, beat: Heartbeat, now: float) -> None:
        """Heartbeats of other services are ignored."""
        if beat.service != "edge":
            return
        edge = self._edges.setdefault(beat.instance, _Edge(beat.name, beat, now))
        edge.latest, edge.received_at = beat, now
        edge.loop_lag_s = max(edge.loop_lag_s, beat.process.loop_lag_s)
        edge.peak_rss_bytes = max(edge.peak_rss_bytes, beat.process.rss_bytes)

    def reset_maxima(self) -> None:
        """The maxima count from now on."""
        for edge in self._edges.values():
            edge.loop_lag_s, edge.peak_rss_bytes = 0.0, 0

    def fresh_since(self, moment: float, now: float) -> bool:
        """True if a heartbeat of every edge that is not lost came after `moment`."""
        return all(edge.received_at > moment or now - edge.received_at > LOST_AFTER_S for edge in self._edges.values())

    def snapshot(self) -> Snapshot:
        return {
            instance: EdgeUsage(edge.name, edge.latest.process.rss_bytes, edge.latest.process.cpu_s)
            for instance, edge in self._edges.items()
        }

    def maxima(self) -> dict[str, Maxima]:
        """By edge name: the longest delay of its loop in seconds, and the most memory that it had."""
        return {edge.name: Maxima(edge.loop_lag_s, edge.peak_rss_bytes) for edge in self._edges.values()}


def per_connection(before: Snapshot, after: Snapshot, connections: int) -> PerConnection:
    """What one connection cost the edges on average; their idle work is included."""
    rss = sum(one.rss_bytes for one in after.values()) - sum(one.rss_bytes for one in before.values())
    cpu = sum(one.cpu_s for one in after.values()) - sum(one.cpu_s for one in before.values())
    return PerConnection(round(rss / max(1, connections)), round(cpu / max(1, connections), 6))


def rss_bytes(before: Snapshot, after: Snapshot) -> Changes:
    """Memory before and after. An edge that came or went in between counts as 0 at the other moment."""
    return _changes(
        {instance: (one.name, one.rss_bytes) for instance, one in before.items()},
        {instance: (one.name, one.rss_bytes) for instance, one in after.items()},
    )


def cpu_s(before: Snapshot, after: Snapshot) -> Changes:
    """CPU seconds (user and system) before and after, counted from each edge's start."""
    return _changes(
        {instance: (one.name, one.cpu_s) for instance, one in before.items()},
        {instance: (one.name, one.cpu_s) for instance, one in after.items()},
    )


def _changes(before: dict[str, tuple[str, float]], after: dict[str, tuple[str, float]]) -> Changes:
    names = {instance: name for instance, (name, _) in (before | after).items()}
    edges: dict[str, Change] = {}
    first: float = 0
    last: float = 0  # ints stay ints
    for instance in sorted(names, key=lambda one: (names[one], one)):
        was, now = before.get(instance, ("", 0))[1], after.get(instance, ("", 0))[1]
        first, last = first + was, last + now
        name = names[instance]
        edges[name if name not in edges else f"{name} ({instance})"] = _change(was, now)
    return Changes(edges, _change(first, last))


def _change(before: float, after: float) -> Change:
    return Change(round(before, 3), round(after, 3), round(after - before, 3))
