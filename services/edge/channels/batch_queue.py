"""The batches of one channel that are not written to all of its subscribers yet, within a bound."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Final

from services.edge.channels.batch import Batch
from services.edge.channels.pace import WAITING_BYTES, Pace

CHANNEL_WAITING_BYTES: Final = 4 * 1024 * 1024
"""The limit for the batches of one channel that wait to be written."""

OWN_WAITING_BYTES: Final = 128 * 1024
"""What each channel may still have waiting when the limit of the edge is reached: about two batches."""

BATCH_OVERHEAD: Final = 1024
"""Approximate bytes of a batch besides its publications."""


class BatchQueue:
    """First come, first written. `waits`: its continuation is scheduled, for a later turn of the event loop.

    `writing` writes the first batch, step by step; None before the first step.
    """

    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        self.batches: deque[Batch] = deque()
        self.writing: Iterator[None] | None = None
        self.waits = False
        self._bytes = 0
        self._when_room: list[Callable[[], object]] = []

    def append(self, batch: Batch) -> None:
        """Adds a batch behind the others."""
        self.batches.append(batch)
        self._count(batch.size + BATCH_OVERHEAD)

    def finish(self) -> Batch:
        """Removes the first batch: all subscribers have it."""
        batch = self.batches.popleft()
        self._count(-batch.size - BATCH_OVERHEAD)
        if self._when_room and self._has_room:
            waiting, self._when_room = self._when_room, []
            for work in waiting:
                work()
        return batch

    def when_room(self, work: Callable[[], object]) -> None:
        """Calls `work` once half of the bound is free. Until then the queue counts as congested."""
        self._when_room.append(work)

    @property
    def congested(self) -> bool:
        """Whether so much waits that no more should be added."""
        return bool(self._when_room) or self._bytes > self._bound

    @property
    def overflows(self) -> bool:
        """Whether not even joins and leaves, which no log has, should be added."""
        return self._bytes > 2 * CHANNEL_WAITING_BYTES

    @property
    def _has_room(self) -> bool:
        return not self.batches or self._bytes <= self._bound // 2

    @property
    def _bound(self) -> int:
        return CHANNEL_WAITING_BYTES if self._pace.waiting_bytes <= WAITING_BYTES else OWN_WAITING_BYTES

    def _count(self, size: int) -> None:
        self._bytes += size
        self._pace.waiting_bytes += size
