"""What the edges say of themselves during a run, from the heartbeats of `proto.telemetry`. Pure.

Heartbeats are the contract, come from each edge itself and need no other service to be up; the metrics service shows
the same figures. The price is their interval: a figure is up to a second old, `EdgeWatch.fresh_since` says when not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from proto.telemetry import LOST_AFTER_S, Heartbeat


@dataclass(slots=True)
class _Edge:
    name: str
    latest: Heartbeat
    heard_at: float
    loop_lag_s: float = 0.0
    peak_rss_bytes: int = 0


Snapshot = dict[str, tuple[str, int, float]]
"""Instance -> (name, RSS in bytes, CPU seconds since its start)."""


class EdgeWatch:
    """Feeds on heartbeats as they come; `now` is any monotonic clock, the same for all calls."""

    def __init__(self) -> None:
        self._edges: dict[str, _Edge] = {}

    def hear(self, beat: Heartbeat, now: float) -> None:
        """Other services' heartbeats are ignored."""
        if beat.service != "edge":
            return
        edge = self._edges.setdefault(beat.instance, _Edge(beat.name, beat, now))
        edge.latest, edge.heard_at = beat, now
        edge.loop_lag_s = max(edge.loop_lag_s, beat.process.loop_lag_s)
        edge.peak_rss_bytes = max(edge.peak_rss_bytes, beat.process.rss_bytes)

    def forget_maxima(self) -> None:
        """The maxima count from now on."""
        for edge in self._edges.values():
            edge.loop_lag_s, edge.peak_rss_bytes = 0.0, 0

    def fresh_since(self, moment: float, now: float) -> bool:
        """Whether every edge that is not lost was heard after `moment`."""
        return all(edge.heard_at > moment or now - edge.heard_at > LOST_AFTER_S for edge in self._edges.values())

    def snapshot(self) -> Snapshot:
        return {
            instance: (edge.name, edge.latest.process.rss_bytes, edge.latest.process.cpu_s)
            for instance, edge in self._edges.items()
        }

    def maxima(self) -> dict[str, dict[str, float]]:
        """Of each edge by name: the latest that its loop was, in seconds, and the most memory it had."""
        return {
            edge.name: {"loop_lag_s": edge.loop_lag_s, "rss_bytes": edge.peak_rss_bytes}
            for edge in self._edges.values()
        }


def per_connection(before: Snapshot, after: Snapshot, connections: int) -> dict[str, float]:
    """What one connection cost the edges on average: bytes of RSS, CPU seconds (their idle work included)."""
    rss = sum(one[1] for one in after.values()) - sum(one[1] for one in before.values())
    cpu = sum(one[2] for one in after.values()) - sum(one[2] for one in before.values())
    return {"rss_bytes": round(rss / max(1, connections)), "cpu_s": round(cpu / max(1, connections), 6)}


def rss_bytes(before: Snapshot, after: Snapshot) -> dict[str, object]:
    """Memory of each edge and of all, before and after. An edge that came or went in between counts as 0 there."""
    return _compare(before, after, 1)


def cpu_s(before: Snapshot, after: Snapshot) -> dict[str, object]:
    """CPU seconds (user and system) of each edge and of all, before and after, counted from each edge's start."""
    return _compare(before, after, 2)


def _compare(before: Snapshot, after: Snapshot, place: Literal[1, 2]) -> dict[str, object]:
    edges: dict[str, object] = {}
    total: list[float] = [0, 0]  # ints stay ints
    for instance in sorted({*before, *after}, key=lambda one: ({**before, **after}[one][0], one)):
        name = {**before, **after}[instance][0]
        values = [shot[instance][place] if instance in shot else 0 for shot in (before, after)]
        total = [total[0] + values[0], total[1] + values[1]]
        edges[name if name not in edges else f"{name} ({instance})"] = _pair(values)
    return {"edges": edges, "total": _pair(total)}


def _pair(values: Sequence[float]) -> dict[str, float]:
    before, after = (round(value, 3) for value in values)
    return {"before": before, "after": after, "change": round(after - before, 3)}
