"""The drain: turn unready, close clients with 1001 at a limited rate, and have their session events stored.

All of it ends before `drain_timeout`, whatever the clients or NATS do. The rate spreads the reconnects over time, so
that they do not reach the other edges all at once.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from proto import codes
from proto.events import BY_DRAIN, EdgeDraining, EdgeStopped
from services.edge.connection.context import EdgeContext
from services.edge.edge_settings import EdgeSection

log = logging.getLogger(__name__)

STEP_S: Final = 0.05
_SLICE: Final = 100
"""Clients that are closed without a pause: about 5 ms, after which the event loop runs other tasks."""
_RESERVE_S: Final = 2.5
"""Reserved for what follows the last close: close handshakes, the acknowledgement of session events, the exit."""
_HANDSHAKE_S: Final = 1.0
_PROGRESS_S: Final = 1.0


def closes_due(count: int, rate: float, seconds: float, elapsed: float) -> int:
    """How many of `count` connections are to be closed `elapsed` seconds into a drain at `rate` per second.

    The rate is raised if `seconds` would not suffice: all are due by then. A rate of 0 means no limit: all are due now.
    """
    if elapsed >= seconds or seconds <= 0 or not rate:
        return count
    return min(count, int(max(rate, count / seconds) * elapsed))


class Drain:
    """One drain of one edge. `left` counts the connections that are still open, None before it begins.

    `began_at` is the time of the event loop at which it began.
    """

    def __init__(self, context: EdgeContext, section: EdgeSection) -> None:
        self._context = context
        self._section = section
        self.left: int | None = None
        self.began_at: float | None = None

    async def run(self) -> None:
        """Drains. Returns within `drain_timeout` (plus the last step), with every connection gone."""
        loop = asyncio.get_running_loop()
        context, section = self._context, self._section
        self.began_at = began = loop.time()
        deadline = began + section.drain_timeout
        context.admission.begin_drain()
        self.left = len(context.registry)
        context.session_log.record(EdgeDraining(self._unix_ms(), self.left))
        log.info("draining: unready, closing %d connections", self.left)
        await asyncio.sleep(section.drain_delay)
        context.admission.close()
        context.node.member_tracker.suppress_own_leaves()
        await self._close_paced(deadline - _RESERVE_S)
        await self._wait_for_handshakes(min(loop.time() + _HANDSHAKE_S, deadline))
        for connection in context.registry:
            connection.cut(BY_DRAIN)
        self.left = 0
        context.refusal_facts.flush()
        left = sum(not connection.closed for connection in context.registry)
        context.session_log.record(EdgeStopped(self._unix_ms(), left))
        stored = await context.session_log.flush(max(0.1, deadline - loop.time()))
        seconds = loop.time() - began
        if stored and context.session_log.stored and not context.session_log.dropped:
            log.info("drained in %.2f s, every session event is stored", seconds)
        elif stored:  # an edge without sessions, or one that had to drop some events
            log.info("drained in %.2f s", seconds)
        else:
            log.error(
                "drained in %.2f s, but NATS did not acknowledge all session events in time: the sessions service "
                "will end those sessions when it no longer receives heartbeats of this edge",
                seconds,
            )

    def _unix_ms(self) -> int:
        return int(self._context.clock.unix() * 1000)

    async def _close_paced(self, until: float) -> None:
        loop = asyncio.get_running_loop()
        waiting = list(self._context.registry)
        count, began, logged = len(waiting), loop.time(), loop.time()
        seconds = until - began
        closed = 0
        while closed < count:
            due = closes_due(count, self._section.drain_rate, seconds, loop.time() - began)
            while closed < due:
                for connection in waiting[closed : min(due, closed + _SLICE)]:
                    connection.leave(codes.GOING_AWAY, BY_DRAIN)
                closed = min(due, closed + _SLICE)
                if loop.time() < until:  # other tasks may take any time in their turns; the drain has a time limit
                    await asyncio.sleep(0)
            self.left = len(self._context.registry)
            if loop.time() - logged >= _PROGRESS_S:
                logged = loop.time()
                log.info("draining: %d of %d clients closed", closed, count)
            if closed < count:
                await asyncio.sleep(STEP_S)

    async def _wait_for_handshakes(self, until: float) -> None:
        loop = asyncio.get_running_loop()
        while self._context.registry and loop.time() < until:
            await asyncio.sleep(STEP_S)
            self.left = len(self._context.registry)
