"""The clocks of an edge: one for durations, and one for times that are exchanged with others."""

from __future__ import annotations

import time


class Clock:
    """Timers and deadlines follow `now`, which never jumps. Expiry, `nbf` and facts follow `unix`, the wall clock.

    The two drift apart when somebody sets the wall clock, and while the machine is suspended.
    """

    def now(self) -> float:
        """The edge's own time: seconds since some moment, at a steady rate."""
        return time.monotonic()

    def unix(self) -> float:
        """Unix time, by the wall clock of this moment."""
        return time.time()

    def ahead(self) -> float:
        """How many seconds `unix` is ahead of `now` at this moment."""
        return self.unix() - self.now()
