"""Which edges are lost, and which lost ones are back, by the silence of their heartbeats. Pure: times are arguments.

Silence counts only while this process could hear: from an edge's last heartbeat, or from the moment since which this
process has been listening without interruption, whichever is later. If other processes heard the edge before this one
started (`recall`), this process may listen for less time at first: the silence of a dead edge began long before.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

MAX_INSTANCES = 10_000
"""Edge processes that are remembered; beyond it, those that have been silent for longest are forgotten."""

LONGEST_TICK_S = 2.5
"""A longer gap between two calls of `tick` means that this process itself was stalled."""

FIRST_LISTENING_S: Final = 3.0
"""For how long this process listens at least: edges send a heartbeat every second, so in this time none is missed by
chance. This is enough if the table knows of a longer silence, and NATS was there all the time."""


class Sighting(NamedTuple):
    """What is stored about an edge process: its name, when it was `heard` last, and the time of its last `fact`, both
    in Unix milliseconds; None if not known."""

    name: str
    heard: int | None
    fact: int | None = None


_NOTHING: Final = Sighting("", None)
_NEVER: Final = (float("-inf"), 0)


class EdgeSilence:
    """Judges edges by their heartbeats. An edge is lost after `lost_after_s` seconds of silence.

    `now` is a monotonic clock in seconds, `wall_ms` Unix time in milliseconds.
    """

    def __init__(self, lost_after_s: float) -> None:
        self._lost_after_s = lost_after_s
        self._heard: dict[str, tuple[float, int]] = {}
        self._recalled: dict[str, Sighting] = {}
        self._names: dict[str, str] = {}
        self._listening_since: float | None = None
        self._since_the_start = False
        self._ticked: float | None = None
        self._open_since: dict[str, float] = {}  # lost edges with open connections

    def on_connected(self, now: float, at_the_start: bool = False) -> None:
        """This process hears heartbeats from now on. `at_the_start`: it has just started, and NATS was there
        already."""
        self._listening_since = now
        self._since_the_start = at_the_start

    def on_disconnected(self) -> None:
        """This process hears nothing any more, so no edge counts as lost."""
        self._listening_since = None

    def heard(self, instance: str, now: float, wall_ms: int, name: str = "") -> None:
        """A heartbeat of `instance` arrived; `name` is the edge's name."""
        self._heard.pop(instance, None)  # moves to the end: the first is the one silent for longest
        if len(self._heard) >= MAX_INSTANCES:
            silent = next(iter(self._heard))
            del self._heard[silent], self._names[silent]
        self._heard[instance] = (now, wall_ms)
        self._names[instance] = name

    def suspects(self, instances: Iterable[str], now: float) -> list[str]:
        """The `instances` for which `lost` needs to know what other processes heard; none while this process hears
        nothing."""
        if self._listening_since is None:
            return []
        return [one for one in instances if now - self._heard.get(one, _NEVER)[0] >= self._lost_after_s]

    def recall(self, sightings: Mapping[str, Sighting]) -> None:
        """Takes what is stored about the suspects now."""
        self._recalled = dict(sightings)

    def name_of(self, instance: str) -> str:
        """The name of the edge, "" if none of its heartbeats was heard by anybody."""
        recalled = self._recalled.get(instance)
        return self._names.get(instance, "") or (recalled.name if recalled else "")

    def tick(self, now: float) -> None:
        """Notices whether this process was stalled. Call it about once a second, before `lost` and `found`."""
        if self._ticked is not None and now - self._ticked > LONGEST_TICK_S and self._listening_since is not None:
            self._listening_since, self._since_the_start = now, False
        self._ticked = now

    def lost(self, instances: Iterable[str], now: float, wall_ms: int) -> dict[str, int]:
        """The `instances` that are lost, each with the time when any process last heard it, in Unix milliseconds.

        If nobody heard it, that is the time of its last fact, as its clients may have been on other edges since then.
        Without a fact, it is the time since which this process listens.
        """
        since = self._listening_since
        if since is None:
            return {}
        gone = {}
        for instance in instances:
            heard, heard_wall_ms = self._heard.get(instance, (since, None))
            recalled = self._recalled.get(instance, _NOTHING)
            by_others = recalled.heard if recalled.heard is not None and recalled.heard <= wall_ms else None
            known = [at for at in (heard_wall_ms, by_others) if at is not None]
            listened_s = now - max(heard, since)
            if by_others is not None and wall_ms - by_others < self._lost_after_s * 1000:
                continue  # others hear it
            first_hand = heard_wall_ms is not None or by_others is None or not self._since_the_start
            if listened_s >= (self._lost_after_s if first_hand else FIRST_LISTENING_S):
                began = wall_ms - int((now - since) * 1000)
                gone[instance] = max(known) if known else min(began, recalled.fact or began)
        return gone

    def lost_again(self, instances: Iterable[str], now: float, wall_ms: int) -> dict[str, int]:
        """Of `instances`, which count as lost and nevertheless have open connections, those that have stayed silent for
        `lost_after_s` since that was noticed, each with the time of its end. Such an edge came back, and died before it
        was heard; or its last facts arrived late. It ended with its last known fact."""
        self._open_since = {one: self._open_since.get(one, now) for one in instances}
        gone = {}
        for one in self.lost(self._open_since, now, wall_ms):
            if now - self._open_since[one] >= self._lost_after_s:
                noticed = wall_ms - int((now - self._open_since[one]) * 1000)
                gone[one] = min(noticed, self._recalled.get(one, _NOTHING).fact or noticed)
        return gone

    def found(self, instances: Iterable[str], now: float) -> list[str]:
        """The `instances` that were heard in the last `lost_after_s` seconds."""
        return [one for one in instances if now - self._heard.get(one, _NEVER)[0] < self._lost_after_s]
