"""Work that many clients have at once, spread over turns of the event loop: others are served in between."""

from __future__ import annotations

import asyncio
from collections import deque


class TurnQueue:
    """Hands out `each` places in one turn of the event loop, in the order of the calls."""

    def __init__(self, each: int) -> None:
        self._each = each
        self._left = each  # in this turn
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._next_is_due = False

    async def turn(self) -> None:
        """Returns when it is the caller's turn: at once, unless others had theirs in this turn of the loop."""
        if not self._next_is_due:
            self._next_is_due = True
            asyncio.get_running_loop().call_soon(self._begin)
        if self._left and not self._waiting:
            self._left -= 1
            return
        mine = asyncio.get_running_loop().create_future()
        self._waiting.append(mine)
        await mine

    def _begin(self) -> None:
        """A turn of the loop begins."""
        self._left = self._each
        while self._waiting and self._left:
            first = self._waiting.popleft()
            if not first.done():  # otherwise its caller has given up
                first.set_result(None)
                self._left -= 1
        self._next_is_due = self._left < self._each
        if self._next_is_due:
            asyncio.get_running_loop().call_soon(self._begin)
