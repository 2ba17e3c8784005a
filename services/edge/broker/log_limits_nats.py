"""What the streams of logs keep, and since when nobody has removed anything: from there on an edge's ring matches the
log.

An edge hears what others remove (`subjects.AUDIT`), and when the limits of a stream change. While its connection is
away, it hears nothing. Then the state of the stream is read later, and the ring matches the log only after that state.
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
        """Something was removed from the stream, or may have been. The caller reads its state, and calls `note`."""
        known = self.of(stream)
        self._retained[stream] = known._replace(since=sys.maxsize, doubts=known.doubts + 1)

    def doubt_all(self) -> None:
        """The connection dropped: this edge cannot hear what others remove, until the states are read."""
        for stream in self._retained:
            self.doubt(stream)

    def note(self, stream: str, state: StreamState, doubts: int) -> None:
        """Notes the state of a stream. `doubts` is the number of its doubts at the time of the request."""
        known, size = self.of(stream), max(0, state.limit)
        ttl_s = state.max_age_s or math.inf
        if known is _UNKNOWN:
            self._retained[stream] = Retained(size, ttl_s, 0, 0, state.first)
        elif known.doubts != doubts:
            return  # something has happened since the request: a later state follows
        elif (size, ttl_s) != known[:2]:  # nobody knows what was evicted by the limits from before
            self._retained[stream] = Retained(size, ttl_s, state.last, doubts + 1, state.first)
        else:
            since = state.last if known.since == sys.maxsize else known.since
            self._retained[stream] = known._replace(since=since, first=state.first)
