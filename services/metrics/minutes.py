"""The figures of each minute, for each edge and for the whole cluster, made from heartbeats. Pure: times are arguments.

Gauges are means over the seconds in which the edge was heard, counters become rates. Two processes of the same name are
one edge, as everywhere. Another instance of this service hears the same heartbeats and gets nearly the same figures;
the history keeps the figures of the instance that heard more.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from proto.telemetry import HEARTBEAT_INTERVAL_S, Heartbeat

MINUTE_S: Final = 60
WHOLE: Final = ""
"""The name under which the sums over all edges are kept; an edge always has a name."""
MAX_EDGES: Final = 1024
"""How many edges have figures of their own in one minute; further edges have none."""
_SET_BACK_S: Final = 2 * MINUTE_S
_LONGEST_GAP_S: Final = 10.0  # a counter's step over a longer silence belongs to no minute

_GAUGES: Final = ("connections", "users", "channels", "subscriptions")
_USED: Final = ("memory_bytes", "memory_limit", "open_fds", "max_fds")
_RATES: Final = ("accepted", "messages_in", "messages_out", "publishes", "bytes_out")


class Minute(NamedTuple):
    """One minute of an edge, or of all edges (`WHOLE`). Rates are per second; `cpu` is in cores.

    For the whole, everything is a sum, except that `seconds`, `loop_lag_s` and `loop_lag_max_s` are the largest of any
    edge.
    """

    minute: int  # Unix time at its beginning, in seconds
    edge: str
    seconds: int  # for how many of the 60 seconds it was heard
    edges: float = 1.0  # how many there were, on average
    connections: float = 0.0
    users: float = 0.0
    channels: float = 0.0
    subscriptions: float = 0.0
    accepted: float = 0.0
    messages_in: float = 0.0
    messages_out: float = 0.0
    publishes: float = 0.0
    bytes_out: float = 0.0
    cpu: float = 0.0
    memory_bytes: float = 0.0  # including the kernel's memory for its connections
    memory_limit: float = 0.0  # bytes; 0: it reports none
    open_fds: float = 0.0
    max_fds: float = 0.0
    loop_lag_s: float = 0.0  # mean
    loop_lag_max_s: float = 0.0
    draining: bool = False


class _Instance:
    """What one process has reported within the current minute."""

    def __init__(self, now: float) -> None:
        self.first = self.last = now
        self.beats = 0
        self.sums = dict.fromkeys((*_GAUGES, *_USED, "loop_lag_s"), 0.0)
        self.steps = dict.fromkeys((*_RATES, "cpu"), 0.0)
        self.stepped_s = 0.0
        self.loop_lag_max_s = 0.0
        self.draining = False

    @property
    def heard_s(self) -> float:
        """How long it was heard: a heartbeat stands for the second before it."""
        return min(self.last - self.first + HEARTBEAT_INTERVAL_S, self.beats * HEARTBEAT_INTERVAL_S)

    def mean(self, name: str) -> float:
        return self.sums[name] / self.beats

    def rate(self, name: str) -> float:
        return self.steps[name] / self.stepped_s if self.stepped_s else 0.0


def _edge_minute(minute: int, name: str, instances: Sequence[_Instance]) -> Minute:
    """The figures of an edge: each of its processes counts by the time for which it was heard."""
    heard_s = min(_union_s(instances), sum(each.heard_s for each in instances), float(MINUTE_S))
    shares = [(each, each.heard_s / heard_s) for each in instances]
    figures = {key: sum(each.mean(key) * share for each, share in shares) for key in instances[0].sums}
    figures |= {key: sum(each.rate(key) * share for each, share in shares) for key in instances[0].steps}
    beats = sum(each.beats for each in instances)
    figures["loop_lag_s"] = sum(each.sums["loop_lag_s"] for each in instances) / beats  # the mean, not the sum
    return Minute(
        minute,
        name,
        max(1, round(heard_s)),
        loop_lag_max_s=max(each.loop_lag_max_s for each in instances),
        draining=any(each.draining for each in instances),
        **figures,
    )


def _union_s(instances: Sequence[_Instance]) -> float:
    """How long at least one of them was heard."""
    union, upto = 0.0, float("-inf")
    for each in sorted(instances, key=lambda one: one.first):
        begin = max(each.first - HEARTBEAT_INTERVAL_S, upto)
        union += max(0.0, each.last - begin)
        upto = max(upto, each.last)
    return union


class MinuteBook:
    """Collects heartbeats, and gives the figures of each minute that has ended. Times are Unix time, in seconds."""

    def __init__(self) -> None:
        self._minute = 0
        self._edges: dict[str, dict[str, _Instance]] = {}  # by name, then by instance
        self._last: dict[str, tuple[float, Heartbeat]] = {}  # by instance

    def heard(self, beat: Heartbeat, now: float) -> list[Minute]:
        """Adds a heartbeat. If it is the first one of a new minute, returns the figures of the minute that has
        ended."""
        ended = self.turn(now)
        load, process = beat.edge, beat.process
        if load is None:
            return ended
        last = self._last.get(beat.instance)
        self._last[beat.instance] = (now, beat)
        if beat.name not in self._edges and len(self._edges) >= MAX_EDGES:
            return ended
        instances = self._edges.setdefault(beat.name, {})
        own = instances.get(beat.instance) or instances.setdefault(beat.instance, _Instance(now))
        own.last = max(own.last, now)
        own.beats += 1
        for name in _GAUGES:
            own.sums[name] += getattr(load, name)
        own.sums["memory_bytes"] += process.rss_bytes if beat.memory is None else beat.memory.used
        own.sums["memory_limit"] += 0 if beat.memory is None else beat.memory.limit
        own.sums["open_fds"] += process.open_fds
        own.sums["max_fds"] += process.max_fds
        own.sums["loop_lag_s"] += process.loop_lag_s
        own.loop_lag_max_s = max(own.loop_lag_max_s, process.loop_lag_s)
        own.draining = own.draining or load.drain_left is not None
        if last is not None and last[1].edge is not None and 0 < now - last[0] <= _LONGEST_GAP_S:
            own.stepped_s += now - last[0]
            for name in _RATES:
                own.steps[name] += max(0.0, getattr(load, name) - getattr(last[1].edge, name))
            own.steps["cpu"] += max(0.0, process.cpu_s - last[1].process.cpu_s)
        return ended

    def turn(self, now: float) -> list[Minute]:
        """The figures of the minute that has ended, once; none while the minute lasts. The whole comes last."""
        minute = int(now) // MINUTE_S * MINUTE_S
        if minute < self._minute - _SET_BACK_S:  # the clock was wrong before, and so are the figures
            self._minute, self._edges, self._last = minute, {}, {}
            return []
        if minute <= self._minute:  # if the clock is set back a little, the open minute goes on
            return []
        ended = [
            _edge_minute(self._minute, name, list(instances.values()))
            for name, instances in sorted(self._edges.items())
        ]
        self._minute = minute
        self._edges = {}
        self._last = {key: value for key, value in self._last.items() if now - value[0] <= _LONGEST_GAP_S}
        return [*ended, whole(ended)] if ended else []


_SUMMED: Final = (*_GAUGES, *_RATES, "cpu", *_USED)


def whole(minutes: Iterable[Minute]) -> Minute:
    """The sum of the edges' figures of one minute (at least one edge). An edge that was heard for a part of the minute
    counts for that part."""
    edges = list(minutes)
    longest = max(one.seconds for one in edges)
    sums = {name: sum(getattr(one, name) * one.seconds / longest for one in edges) for name in _SUMMED}
    return Minute(
        edges[0].minute,
        WHOLE,
        longest,
        edges=sum(one.seconds for one in edges) / longest,
        loop_lag_s=max(one.loop_lag_s for one in edges),
        loop_lag_max_s=max(one.loop_lag_max_s for one in edges),
        **sums,
    )
