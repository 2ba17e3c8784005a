"""Keeps an edge within its memory: samples it once a second, and carries out what the guard decides.

It counts what closing clients can lower: the memory of this process, and that of the kernel for its connections. (A
control group's own figure also includes cached files, and other processes.)
"""

from __future__ import annotations

import asyncio
import heapq
import logging
from collections.abc import Callable
from typing import Final

from proto import codes
from services.chassis.process.log import Throttle
from services.edge.connection.context import EdgeContext
from services.edge.connection.memory_guard import SHED_PER_S, MemoryGuard, MemoryLimits, Weighed, order, whom_to_close
from services.edge.connection.registry import RegisteredConnection

log = logging.getLogger(__name__)

SAMPLE_S: Final = 1.0
GIVE_BACK_S: Final = 10.0
GIVE_BACK_MAX_S: Final = 80.0
"""While memory is short, free memory is given back to the system at this interval. The interval doubles, up to the
maximum, each time that this hardly frees anything, until there are fewer clients, channels and subscriptions. It takes
35 ms in a heap of 1 GB, and 0.4 ms for each MB."""
LITTLE: Final = 0.01
"""To give back less than this share of the memory in use is hardly anything; clients, channels and subscriptions are
fewer if more than this share of them is gone."""
COLLECT_S: Final = 60.0
"""The least time between collections of garbage: when memory rises above the soft limit, and once while it is above the
hard limit, before clients are closed. One takes 0.3 us for each object: 40 ms with 9,000 clients."""

KERNEL_BYTES: Final = 5_300
CONNECTION_BYTES: Final = 3_200 + KERNEL_BYTES
SUBSCRIPTION_BYTES: Final = 400
CHANNEL_BYTES: Final = 1_800
"""The memory of an idle client, of a subscription, and of an open channel without its ring, as `perf memory` and `perf
scale` measure it (docs/scaling.md)."""

_SLICE: Final = 500
"""Clients that are weighed without a pause: about 0.5 ms."""
_CLOSED_AT_ONCE: Final = 100

Weight = Weighed[RegisteredConnection]


class MemoryWatch:
    """The memory of one edge. `resident` returns the bytes of the process, `give_back` gives back what it has freed,
    `collect` collects garbage.
    """

    def __init__(
        self,
        context: EdgeContext,
        limits: MemoryLimits,
        resident: Callable[[], int],
        give_back: Callable[[], None],
        collect: Callable[[], object],
    ) -> None:
        self._context = context
        self._guard = MemoryGuard(limits)
        self._resident = resident
        self._give_back = give_back
        self._collect = collect
        self._gave_back_at = self._collected_at = -COLLECT_S
        self._give_back_after_s = GIVE_BACK_S
        self._held = 0  # clients, channels and subscriptions at that time
        self._collected_above_hard = False  # since memory came above the hard limit
        self._throttle = Throttle()
        self._helpless = False

    @property
    def limits(self) -> MemoryLimits:
        """The limits that apply."""
        return self._guard.limits

    @property
    def used(self) -> int:
        """Bytes of the process, and of the kernel for its connections, now."""
        return self._resident() + KERNEL_BYTES * len(self._context.registry)

    async def run(self) -> None:
        """Watches until cancelled, but not while the edge drains, which closes all clients."""
        while any(self.limits):
            await asyncio.sleep(SAMPLE_S)
            if not self._context.admission.draining:
                await self.sample()

    async def sample(self) -> None:
        """Takes one sample, and does what the guard decides."""
        now, used = self._context.clock.now(), self.used
        if self._guard.is_short(used):
            self._tidy(now, used)
            used = self.used
        before = self._guard.above_soft or self._guard.above_hard
        verdict = self._guard.judge(used, now)
        self._collected_above_hard = self._collected_above_hard and verdict.above_hard
        self._context.admission.limit_memory(verdict.above_soft, verdict.above_hard)
        self._tell(before, verdict.above_soft or verdict.above_hard, used)
        closed = await self._shed(verdict.excess, used, now) if verdict.excess else 0
        helpless = self._guard.stuck or (verdict.excess > 0 and not closed)
        if helpless and not self._helpless:
            log.error(
                "the edge uses %d MB, more than edge.memory_hard_limit, and closing clients does not help: no more are "
                "closed, new ones are refused",
                used // 1_000_000,
            )
        self._helpless = verdict.above_hard and (self._helpless or helpless)

    def _tidy(self, now: float, used: int) -> None:
        """Frees what it can without closing clients, and what closed clients have left; not at every sample."""
        above_hard = used > self.limits.hard > 0
        due = not self._collected_above_hard if above_hard else not self._guard.above_soft
        collects = due and now >= self._collected_at + COLLECT_S
        if collects:
            self._collected_at, self._collected_above_hard = now, above_hard
            self._collect()
        node = self._context.node
        held = len(self._context.registry) + len(node.channels) + node.subscriptions
        if held < self._held * (1 - LITTLE):
            self._give_back_after_s = GIVE_BACK_S
        if collects or now >= self._gave_back_at + self._give_back_after_s or self._guard.settles(now):
            self._gave_back_at, self._held = now, held
            self._give_back()
            frees = used - self.used > LITTLE * used
            self._give_back_after_s = GIVE_BACK_S if frees else min(2 * self._give_back_after_s, GIVE_BACK_MAX_S)

    def _tell(self, before: bool, above: bool, used: int) -> None:
        megabytes = used // 1_000_000
        if above and not before:
            log.warning(
                "short of memory, new clients should go to other edges: %d MB are used, %s",
                megabytes,
                self._shown_limits(),
            )
        elif before and not above:
            log.info("no longer short of memory: %d MB are used, %s", megabytes, self._shown_limits())

    def _shown_limits(self) -> str:
        soft, hard = (f"{limit // 1_000_000} MB" if limit else "off" for limit in self.limits)
        return f"edge.memory_soft_limit is {soft}, edge.memory_hard_limit {hard}"

    async def _shed(self, excess: int, used: int, now: float) -> int:
        """Closes clients, and returns how many."""
        heaviest, of_all = await self._weigh()
        chosen = whom_to_close(heaviest, of_all, excess)
        if not chosen:
            return 0
        self._guard.let_go(sum(each.size for each in chosen), used, now)
        closed = 0
        for number, weighed in enumerate(chosen):
            closed += self._close(weighed)
            if number % _CLOSED_AT_ONCE == _CLOSED_AT_ONCE - 1:
                await asyncio.sleep(0)
        self._context.tally.shed += closed
        held = self._throttle.allows(now)
        if held is not None:
            slow = sum(each.slow for each in chosen)
            text = "the edge uses %d MB, %s: %d clients were told to reconnect elsewhere, %d of them slow"
            log.warning(text, used // 1_000_000, self._shown_limits(), closed, slow)
        return closed

    async def _weigh(self) -> tuple[list[Weight], int]:
        """The first clients to close, at least as many as may be closed in a second; and the size of all clients."""
        weights: list[Weight] = []
        of_all = 0
        of_subscription = self._bytes_of_subscription()
        for number, connection in enumerate(self._context.registry):
            if not (connection.closed or connection.session.leaving):  # one that leaves is let go already
                slow, waiting = connection.lag
                size = CONNECTION_BYTES + of_subscription * len(connection.session.state.channels)
                weighed = Weighed(connection, slow, int(size + waiting * self._guard.own_share))
                of_all += weighed.size
                weights.append(weighed)
            if number % _SLICE == _SLICE - 1:
                weights = heapq.nlargest(SHED_PER_S, weights, key=order)
                await asyncio.sleep(0)
        return weights, of_all

    def _bytes_of_subscription(self) -> float:
        """The bytes of a subscription, with its share of the channels, which close when nobody is subscribed."""
        node = self._context.node
        channels = CHANNEL_BYTES * len(node.channels) + node.channels.rings.total_bytes
        return SUBSCRIPTION_BYTES + channels / max(1, node.subscriptions)

    def _close(self, weighed: Weight) -> bool:
        """Closes a client, and returns whether it was still open."""
        connection = weighed.client
        if connection.closed or connection.session.leaving:
            return False
        why = f"it takes about {weighed.size} bytes, and memory is above edge.memory_hard_limit"
        fields = connection.session.state.about(code=codes.FORCE_RECONNECT.code)
        self._context.refusals.write("a client was closed", why, fields)
        connection.leave(codes.FORCE_RECONNECT)
        return True
