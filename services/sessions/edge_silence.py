"""Which edges are lost, and which lost ones are back, by the silence of their heartbeats. Pure: times are arguments.

Silence counts only while this process could hear: from an edge's last heartbeat, or from the moment since which this
process has been listening without interruption, whichever is later.
"""

from __future__ import annotations

from collections.abc import Iterable

MAX_INSTANCES = 10_000
"""Edge processes remembered; beyond it those that have been silent for longest are forgotten."""

LONGEST_TICK_S = 2.5
"""A longer gap between two calls of `tick` means that this process itself was stalled."""


class EdgeSilence:
    """Judges edges by their heartbeats. An edge is lost after `lost_after_s` seconds of silence.

    `now` is a monotonic clock in seconds, `wall_ms` Unix time in milliseconds.
    """

    def __init__(self, lost_after_s: float) -> None:
        self._lost_after_s = lost_after_s
        self._heard: dict[str, tuple[float, int]] = {}
        self._names: dict[str, str] = {}
        self._listening_since: float | None = None
        self._ticked: float | None = None
        self._open_since: dict[str, float] = {}  # lost ones with open connections

    def on_connected(self, now: float) -> None:
        """This process hears heartbeats from now on."""
        self._listening_since = now

    def on_disconnected(self) -> None:
        """This process hears nothing any more, so no edge counts as lost."""
        self._listening_since = None

    def heard(self, instance: str, now: float, wall_ms: int, name: str = "") -> None:
        """A heartbeat of `instance` arrived, the edge of this name."""
        self._heard.pop(instance, None)  # moves to the end: the first is the one silent for longest
        if len(self._heard) >= MAX_INSTANCES:
            silent = next(iter(self._heard))
            del self._heard[silent], self._names[silent]
        self._heard[instance] = (now, wall_ms)
        self._names[instance] = name

    def name_of(self, instance: str) -> str:
        """The name of the edge, "" if none of its heartbeats was heard."""
        return self._names.get(instance, "")

    def tick(self, now: float) -> None:
        """Notices whether this process was stalled. Call it about once a second, before `lost` and `found`."""
        if self._ticked is not None and now - self._ticked > LONGEST_TICK_S and self._listening_since is not None:
            self._listening_since = now
        self._ticked = now

    def lost(self, instances: Iterable[str], now: float, wall_ms: int) -> dict[str, int]:
        """The lost ones of `instances`, each with the time when it was last heard, in Unix milliseconds."""
        since = self._listening_since
        if since is None:
            return {}
        gone = {}
        for instance in instances:
            heard, heard_wall_ms = self._heard.get(instance, (since, wall_ms - int((now - since) * 1000)))
            if now - max(heard, since) >= self._lost_after_s:
                gone[instance] = heard_wall_ms
        return gone

    def lost_again(self, instances: Iterable[str], now: float, wall_ms: int) -> dict[str, int]:
        """Those of `instances`, which count as lost and nevertheless have open connections, that have been silent for
        `lost_after_s` meanwhile, each with the time since when. They were back, and died before they were heard."""
        self._open_since = {one: self._open_since.get(one, now) for one in instances}
        since = {one: now - self._open_since[one] for one in self.lost(self._open_since, now, wall_ms)}
        return {one: wall_ms - int(for_s * 1000) for one, for_s in since.items() if for_s >= self._lost_after_s}

    def found(self, instances: Iterable[str], now: float) -> list[str]:
        """Those of `instances` that were heard in the last `lost_after_s` seconds."""
        late = (float("-inf"), 0)
        return [one for one in instances if now - self._heard.get(one, late)[0] < self._lost_after_s]
