"""A minute's figures of each edge and of the whole, made of heartbeats. Pure: times are arguments.

Gauges are means over the seconds in which the edge was heard, counters become rates. Two processes of one name are one
edge, as everywhere. Another instance of this service hears the same heartbeats and comes to nearly the same figures;
the history keeps those of the instance that heard more.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from proto.telemetry import Heartbeat

MINUTE_S: Final = 60
WHOLE: Final = ""
"""The name under which the sums over all edges are kept; an edge always has a name."""
MAX_EDGES: Final = 1024
"""Edges with figures of their own in one minute; the others are only missing there."""
_LONGEST_GAP_S: Final = 10.0  # a counter's step over a longer silence belongs to no minute

_GAUGES: Final = ("connections", "users", "channels", "subscriptions")
_RATES: Final = ("accepted", "messages_in", "messages_out", "publishes", "bytes_out")


class Minute(NamedTuple):
    """One minute of an edge, or of all (`WHOLE`). Rates are per second; `cpu` is in cores.

    Of the whole, everything is a sum, but `seconds`, `loop_lag_s` and `loop_lag_max_s` are the largest of an edge.
    """

    minute: int  # Unix time at its beginning, in seconds
    edge: str
    seconds: int  # in how many of the 60 it was heard
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
    rss_bytes: float = 0.0
    open_fds: float = 0.0
    max_fds: float = 0.0
    loop_lag_s: float = 0.0  # mean
    loop_lag_max_s: float = 0.0
    draining: bool = False


class _Edge:
    """What one edge has said within the current minute."""

    def __init__(self) -> None:
        self.seconds: set[int] = set()
        self.sums = dict.fromkeys((*_GAUGES, "rss_bytes", "open_fds", "max_fds", "loop_lag_s"), 0.0)
        self.steps = dict.fromkeys((*_RATES, "cpu"), 0.0)
        self.stepped_s = 0.0
        self.beats = 0
        self.loop_lag_max_s = 0.0
        self.draining = False

    def minute(self, minute: int, name: str) -> Minute:
        heard = len(self.seconds)
        sums, steps = self.sums, self.steps
        rates = {key: steps[key] / self.stepped_s if self.stepped_s else 0.0 for key in steps}
        means = {key: sums[key] / heard for key in sums}
        means["loop_lag_s"] = sums["loop_lag_s"] / self.beats  # of two processes the mean, not the sum
        return Minute(
            minute,
            name,
            heard,
            loop_lag_max_s=self.loop_lag_max_s,
            draining=self.draining,
            **means,
            **rates,
        )


class MinuteBook:
    """Collects heartbeats, and gives the figures of each minute that has ended. Times are Unix time, in seconds."""

    def __init__(self) -> None:
        self._minute = 0
        self._edges: dict[str, _Edge] = {}
        self._last: dict[str, tuple[float, Heartbeat]] = {}  # by instance

    def heard(self, beat: Heartbeat, now: float) -> list[Minute]:
        """Adds a heartbeat. Returns the figures of the minute that it ends, if it is the first one of another."""
        ended = self.turn(now)
        load, process = beat.edge, beat.process
        if load is None:
            return ended
        last = self._last.get(beat.instance)
        self._last[beat.instance] = (now, beat)
        if beat.name not in self._edges and len(self._edges) >= MAX_EDGES:
            return ended
        own = self._edges.setdefault(beat.name, _Edge())
        own.seconds.add(int(now) % MINUTE_S)
        own.beats += 1
        for name in _GAUGES:
            own.sums[name] += getattr(load, name)
        own.sums["rss_bytes"] += process.rss_bytes
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
        """The figures of the minute that has ended, once; none while it goes on. The whole comes last."""
        minute = int(now) // MINUTE_S * MINUTE_S
        if minute <= self._minute:  # a clock that is set back adds to the minute that is open
            return []
        ended = [own.minute(self._minute, name) for name, own in sorted(self._edges.items())]
        self._minute = minute
        self._edges = {}
        self._last = {key: value for key, value in self._last.items() if now - value[0] <= _LONGEST_GAP_S}
        return [*ended, whole(ended)] if ended else []


_SUMMED: Final = (*_GAUGES, *_RATES, "cpu", "rss_bytes", "open_fds", "max_fds")


def whole(minutes: Iterable[Minute]) -> Minute:
    """The sum of the edges' figures of one minute (at least one edge). An edge that was heard for a part of it counts
    for that part."""
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
