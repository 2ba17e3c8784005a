"""What the streams of logs keep, and since when nobody has removed anything: so far an edge's ring stands for a log.

An edge hears of what others remove (`subjects.AUDIT`), and that a stream got other limits. While its connection is away
it cannot hear. Then the state of the stream as of a later moment counts: only what came after that is as the ring has
it.
"""

from __future__ import annotations

import math
import sys
from typing import Final

from services.chassis.nats.streams import StreamState
from services.edge.broker.broker import Retained

_UNKNOWN: Final = Retained(0, math.inf, sys.maxsize, 0)


class LogLimits:
    """By stream. Pure."""

    def __init__(self) -> None:
        self._retained: dict[str, Retained] = {}

    def of(self, stream: str) -> Retained:
        """What a stream keeps, as last seen."""
        return self._retained.get(stream, _UNKNOWN)

    def doubt(self, stream: str) -> None:
        """Something was removed from the stream, or may have been. Its state is to be read, and then `note`d."""
        known = self.of(stream)
        self._retained[stream] = known._replace(since=sys.maxsize, doubts=known.doubts + 1)

    def doubt_all(self) -> None:
        """The connection dropped: nothing is heard of what others remove, until the states are read."""
        for stream in self._retained:
            self.doubt(stream)

    def note(self, stream: str, state: StreamState, doubts: int) -> None:
        """The state of a stream, which was asked for when its `doubts` were so many."""
        known, size = self.of(stream), max(0, state.limit)
        ttl_s = state.max_age_s or math.inf
        if known is _UNKNOWN:
            self._retained[stream] = Retained(size, ttl_s, 0, 0, state.first)
        elif known.doubts != doubts:
            return  # something has happened since it was asked for: a later state follows
        elif (size, ttl_s) != known[:2]:  # nobody knows what was evicted before
            self._retained[stream] = Retained(size, ttl_s, state.last, doubts + 1, state.first)
        else:
            since = state.last if known.since == sys.maxsize else known.since
            self._retained[stream] = known._replace(since=since, first=state.first)
