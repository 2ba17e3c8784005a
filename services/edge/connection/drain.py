"""Goodbye as a protocol: unready, close clients with 1001 at a pace, have their session events stored, done.

All of it ends before `drain_timeout`, whatever the clients or NATS do. The pace spreads the reconnects, so that the
other edges are not hit by all of them in one instant.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from proto import codes
from services.edge.connection.context import EdgeContext
from services.edge.settings import EdgeSection

log = logging.getLogger(__name__)

STEP_S: Final = 0.05
_SLICE: Final = 100
"""Clients that are closed in one go: some 5 ms, after which the loop sees to everything else."""
_RESERVE_S: Final = 2.5
"""Kept of the time for what follows the last close: close handshakes, the events' acknowledgement, the exit."""
_HANDSHAKE_S: Final = 1.0
_PROGRESS_S: Final = 1.0


def closes_due(count: int, rate: float, seconds: float, elapsed: float) -> int:
    """How many of `count` connections are to be closed `elapsed` seconds into a drain at `rate` per second.

    The pace is raised when `seconds` would not suffice: all are due by then. A rate of 0 is no pace: all are due now.
    """
    if elapsed >= seconds or seconds <= 0 or not rate:
        return count
    return min(count, int(max(rate, count / seconds) * elapsed))


class Drain:
    """One drain of one edge. `left` counts the connections that are still open, None before it begins."""

    def __init__(self, context: EdgeContext, section: EdgeSection) -> None:
        self._context = context
        self._section = section
        self.left: int | None = None

    async def run(self) -> None:
        """Drains. Returns within `drain_timeout` (plus the last step), with every connection gone."""
        loop = asyncio.get_running_loop()
        context, section = self._context, self._section
        began = loop.time()
        deadline = began + section.drain_timeout
        context.admission.begin_drain()
        self.left = len(context.registry)
        log.info("draining: not ready any more, %d clients to say goodbye to", self.left)
        await asyncio.sleep(section.drain_delay)
        context.admission.close()
        context.node.member_tracker.suppress_own_leaves()
        await self._close_paced(deadline - _RESERVE_S)
        await self._wait_for_handshakes(min(loop.time() + _HANDSHAKE_S, deadline))
        for connection in context.registry:
            connection.cut()
        self.left = 0
        stored = await context.session_log.flush(max(0.1, deadline - loop.time()))
        seconds = loop.time() - began
        if stored:
            log.info("drained in %.2f s, every session event is stored", seconds)
        else:
            log.error(
                "drained in %.2f s, but NATS did not acknowledge all session events in time: the sessions service "
                "will end those sessions when it misses this edge",
                seconds,
            )

    async def _close_paced(self, until: float) -> None:
        loop = asyncio.get_running_loop()
        waiting = list(self._context.registry)
        count, began, said = len(waiting), loop.time(), loop.time()
        seconds = until - began
        closed = 0
        while closed < count:
            due = closes_due(count, self._section.drain_rate, seconds, loop.time() - began)
            while closed < due:
                for connection in waiting[closed : min(due, closed + _SLICE)]:
                    connection.leave(codes.GOING_AWAY)
                closed = min(due, closed + _SLICE)
                if loop.time() < until:  # what others do in their turns has no bound, the drain has one
                    await asyncio.sleep(0)
            self.left = len(self._context.registry)
            if loop.time() - said >= _PROGRESS_S:
                said = loop.time()
                log.info("draining: %d of %d clients closed", closed, count)
            if closed < count:
                await asyncio.sleep(STEP_S)

    async def _wait_for_handshakes(self, until: float) -> None:
        loop = asyncio.get_running_loop()
        while self._context.registry and loop.time() < until:
            await asyncio.sleep(STEP_S)
            self.left = len(self._context.registry)
