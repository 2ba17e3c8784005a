"""Spreads work that many clients have at once over turns of the event loop, so that others are served in between."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Final

log = logging.getLogger(__name__)


SECONDS: Final = 0.005
"""After this long in one turn of the loop, no more places are handed out, and clients with much to do wait, too."""


class TurnQueue:
    """Hands out `each` places in one turn of the event loop, in the order of the calls, while the turn is short.

    `now` is any clock in seconds that does not jump.
    """

    def __init__(self, each: int, now: Callable[[], float] = time.monotonic) -> None:
        self._each = each
        self._now = now
        self._ends = 0.0  # this turn
        self._left = each  # in this turn
        self._waiting: deque[Callable[[], object]] = deque()
        self._next_is_due = False

    def take(self) -> bool:
        """Takes a place in this turn of the loop, if there is one and nobody waits for it."""
        if not self.has_time() or not self._left or self._waiting:
            return False
        self._left -= 1
        return True

    def has_time(self) -> bool:
        """Whether this turn of the loop is still short, for work that needs no place."""
        if not self._next_is_due:
            self._next_is_due = True
            self._ends = self._now() + SECONDS
            asyncio.get_running_loop().call_soon(self._begin)
            return True
        return self._now() < self._ends

    def wait(self, work: Callable[[], object]) -> None:
        """Calls `work` in a later turn, after all others that wait. For callers that got no place."""
        self.has_time()  # schedules the next turn, if nobody has yet
        self._waiting.append(work)

    async def turn(self) -> None:
        """Returns when it is the caller's turn: at once, unless others had theirs in this turn of the loop."""
        if not self.take():
            mine = asyncio.get_running_loop().create_future()
            self.wait(partial(_grant, mine))
            await mine

    def _begin(self) -> None:
        """A turn of the loop begins."""
        self._left = self._each
        self._ends = self._now() + SECONDS
        while self._waiting and self._left:
            self._left -= 1
            try:
                self._waiting.popleft()()
            except Exception:  # the others still get their turns
                log.exception("a turn failed")
            if self._now() >= self._ends:
                break
        self._next_is_due = bool(self._waiting) or self._left < self._each
        if self._next_is_due:
            asyncio.get_running_loop().call_soon(self._begin)


def _grant(turn: asyncio.Future[None]) -> None:
    if not turn.done():  # otherwise its caller has given up
        turn.set_result(None)
