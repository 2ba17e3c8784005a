"""The pace of fan-outs by turns of the event loop."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable

from services.edge.turn_queue import TurnQueue


class TurnsPace:
    """Turns of the event loop, shared by all channels of an edge. `now` is any clock in seconds that does not jump."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self.waiting_bytes = 0
        turns = TurnQueue(sys.maxsize, now)
        self.has_time = turns.has_time
        self.wait = turns.wait

    def at_end_of_turn(self, work: Callable[[], object]) -> None:
        """Calls `work` at the end of this turn of the event loop."""
        asyncio.get_running_loop().call_soon(work)
