"""Limits the publishes that wait for the broker's acknowledgement, and the queue of publishes that wait their turn."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress

from services.chassis.metrics.histogram import Histogram
from services.chassis.metrics.series import FAST_S
from services.edge.broker.broker import BrokerAway


class InFlight:
    """A limit of `limit` publishes in flight, and a first-in, first-out queue of at most `waiting_limit` behind them.

    `count` is the number in flight now. `refused` counts, since the start, the publishes that found the queue full, or
    whose turn did not come in time. `ack_seconds` is how long acknowledgements took since the publication was first
    sent to the broker.
    """

    def __init__(self, limit: int, waiting_limit: int) -> None:
        self._limit = limit
        self._waiting_limit = waiting_limit
        self._turns: deque[asyncio.Future[None]] = deque()
        self.count = 0
        self.refused = 0
        self.ack_seconds = Histogram(FAST_S)

    @property
    def waiting(self) -> int:
        """Publishes that wait for their turn."""
        return len(self._turns)

    async def enter(self, deadline: float) -> None:
        """Waits for the turn of one publish; call `leave` after it.

        Raises `BrokerAway` if the queue is full, and at `deadline` (loop time).
        """
        if self.count < self._limit and not self._turns:
            self.count += 1
            return
        if len(self._turns) >= self._waiting_limit:
            self.refused += 1
            raise BrokerAway("too many publishes wait for an acknowledgement", "busy")
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._turns.append(turn)
        try:
            async with asyncio.timeout_at(deadline):
                await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled():  # the turn came at the same moment: pass it on
                self.leave()
            with suppress(ValueError):
                self._turns.remove(turn)
            if isinstance(error, TimeoutError):
                self.refused += 1
                raise BrokerAway("not published in time: too many others wait", "busy") from None
            raise

    def leave(self) -> None:
        """Ends a publish. The one that has waited longest takes its place."""
        while self._turns:
            turn = self._turns.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self.count -= 1
