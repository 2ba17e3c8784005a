"""Which edges are gone without a goodbye, and which of those are back. Pure: times are handed in.

Silence means something only while we could have heard: it counts from the later of an edge's last heartbeat and the
moment since when this process has been listening without a break.
"""

from __future__ import annotations

from collections.abc import Iterable

MAX_INSTANCES = 10_000
"""Edge processes remembered; beyond it those silent longest are forgotten."""

LONGEST_TICK_S = 2.5
"""A gap between two looks that is longer than this means that this process itself stood still."""


class EdgeSilence:
    """`lost_after_s` as in `proto.telemetry`. `now` is a monotonic clock in seconds, `wall_ms` Unix time."""

    def __init__(self, lost_after_s: float) -> None:
        self._lost_after_s = lost_after_s
        self._heard: dict[str, tuple[float, int]] = {}
        self._listening_since: float | None = None
        self._ticked: float | None = None

    def on_connected(self, now: float) -> None:
        self._listening_since = now

    def on_disconnected(self) -> None:
        self._listening_since = None

    def heard(self, instance: str, now: float, wall_ms: int) -> None:
        """A heartbeat came."""
        self._heard.pop(instance, None)  # put at the end: the first is the one silent longest
        if len(self._heard) >= MAX_INSTANCES:
            del self._heard[next(iter(self._heard))]
        self._heard[instance] = (now, wall_ms)

    def tick(self, now: float) -> None:
        """Call about once a second, before asking."""
        if self._ticked is not None and now - self._ticked > LONGEST_TICK_S and self._listening_since is not None:
            self._listening_since = now
        self._ticked = now

    def lost(self, instances: Iterable[str], now: float, wall_ms: int) -> dict[str, int]:
        """Those of `instances` that have been silent for too long -> when they were last heard, Unix milliseconds."""
        since = self._listening_since
        if since is None:
            return {}
        gone = {}
        for instance in instances:
            heard, heard_wall_ms = self._heard.get(instance, (since, wall_ms - int((now - since) * 1000)))
            if now - max(heard, since) >= self._lost_after_s:
                gone[instance] = heard_wall_ms
        return gone

    def found(self, instances: Iterable[str], now: float) -> list[str]:
        """Those of `instances` that were heard of late."""
        late = (float("-inf"), 0)
        return [one for one in instances if now - self._heard.get(one, late)[0] < self._lost_after_s]
