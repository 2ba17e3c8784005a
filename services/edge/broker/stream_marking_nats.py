"""Marks every second how far streams have come, if they have moved on since their last mark (`stream_marks_nats`)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from services.chassis.nats.link import NatsAway, NatsRefused
from services.chassis.process.tasks import Tasks
from services.edge.broker.broker import LogState
from services.edge.broker.known_streams import KnownStreams
from services.edge.broker.stream_marks_nats import StreamMarks

log = logging.getLogger(__name__)

MARK_INTERVAL_S: Final = 1.0
"""How far an edge's knowledge of a stream may be behind that of the others."""


class StreamMarking:
    """`read(stream)` reads the state of a stream into `known`; `used(stream)` says whether the stream is in use."""

    def __init__(
        self,
        marks: StreamMarks,
        known: KnownStreams,
        read: Callable[[str], Awaitable[LogState]],
        used: Callable[[str], bool],
    ) -> None:
        self._marks = marks
        self._known = known
        self._read = read
        self._used = used
        self._marking: set[str] = set()  # streams whose state is being read for a mark
        self._tasks = Tasks()

    def start(self) -> None:
        """From now on, marks every second the streams that have moved on."""
        self._tasks.start(self._mark_on())

    def stop(self) -> None:
        """Sends last marks without reading states, and stops."""
        self._tasks.cancel()
        for stream in self._unmarked():
            self._marks.set(stream, self._known.epoch(stream), self._known.reached(stream))

    async def _mark_on(self) -> None:
        while True:
            await asyncio.sleep(MARK_INTERVAL_S)
            for stream in set(self._unmarked()) - self._marking:  # a silent stream does not delay the others
                self._marking.add(stream)
                self._tasks.start(self._mark(stream))

    async def _mark(self, stream: str) -> None:
        try:
            await self._read(stream)
        except (NatsAway, NatsRefused) as error:
            log.debug("stream %s cannot be marked: %s", stream, error)
        else:
            state = self._known.state(stream)
            self._marks.set(stream, state.epoch, state.last, state.last_at)
        finally:
            self._marking.discard(stream)

    def _unmarked(self) -> list[str]:
        """The streams that have come further than their mark, as this edge knows."""
        used = [(stream, epoch) for stream, epoch in self._known.epochs().items() if self._used(stream)]
        return [stream for stream, epoch in used if self._known.reached(stream) > self._upto(stream, epoch)]

    def _upto(self, stream: str, epoch: str) -> int:
        mark = self._marks.get(stream)
        return 0 if mark is None or mark.epoch != epoch else mark.sequence
