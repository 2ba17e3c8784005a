"""Turns: an object with more work than should be done at once waits for its next turn, behind all others that wait.

In each turn of the event loop the waiting objects work one after the other, each once, until the time for that is used
up. Other work of the loop, such as a heartbeat or a client that sends little, runs in between.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final, Protocol

log = logging.getLogger(__name__)

TURN_S: Final = 0.005
"""How long the waiting objects may work in one turn of the event loop. The last one of a turn may take longer."""


class TakesTurns(Protocol):
    """An object with work that waits."""

    def take_turn(self) -> None:
        """Does a part of the work. Calls `Turns.wait` again if more is left."""


class Turns:
    """The queue of the objects that wait. `now` is any clock in seconds that does not jump."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self.now = now
        self._waiting: OrderedDict[TakesTurns, None] = OrderedDict()
        self._scheduled = False

    def __len__(self) -> int:
        return len(self._waiting)

    def wait(self, taker: TakesTurns) -> None:
        """Gives `taker` a turn, in a later turn of the event loop. If it already waits, it keeps its place."""
        self._waiting[taker] = None
        self._schedule()

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._run)

    def _run(self) -> None:
        ends = self.now() + TURN_S
        for _ in range(len(self._waiting)):
            taker, _ = self._waiting.popitem(last=False)
            try:
                taker.take_turn()
            except Exception:  # the others still get their turns
                log.exception("a turn failed")
            if self.now() >= ends:
                break
        self._scheduled = False
        if self._waiting:
            self._schedule()
