"""Stores session facts in the stream `SESSIONS`, in batches, strictly in order.

One batch is sent at a time; facts that are recorded meanwhile make the next one. This keeps the order across retries; a
batch that is sent twice is stored once (its number is in its message id); and under load one message carries hundreds
of facts.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import Final

from proto import subjects
from proto.events import (
    LOG_DUPLICATE_WINDOW_S,
    LOG_MAX_AGE_S,
    LOG_MAX_BYTES,
    EventBatch,
    SessionEvent,
    encode_batch,
    traces_field,
)
from proto.trace_context import TraceContext
from services.chassis.nats.link import NatsAway, NatsLink, NatsRefused, NobodyAnswers, header_block
from services.chassis.nats.stream_making import ensure_stream, stream_config
from services.chassis.nats.streams import store
from services.chassis.process.complaint import Complaint

log = logging.getLogger(__name__)

MAX_BATCH: Final = 500
MAX_BATCH_BYTES: Final = 256 * 1024
"""Facts and bytes of one stream message: a quarter of what NATS accepts by default. If it accepts less, batches are
smaller."""

MAX_WAITING: Final = 250_000
"""Facts held while NATS is unavailable, about 0.4 KB each. Above this the oldest are dropped, and counted. Offsets of
closes take up to 80 MB more (`account.OFFSETS_WHILE_WAITING`)."""

MAX_TRACES_WAITING: Final = 1024
"""Spans of waiting facts that are remembered."""

_GATHER_S: Final = 0.02
_RETRY_S: Final = 0.2
_ACK_TIMEOUT_S: Final = 2.0


class NatsSessionLog:
    """The session log of one edge instance, in the stream `SESSIONS` (see `session_log.SessionLog`)."""

    def __init__(self, link: NatsLink, edge: str, instance: str) -> None:
        self._link = link
        self._edge = edge
        self._instance = instance
        self._subject = subjects.session_events(instance)
        self._waiting: deque[SessionEvent] = deque()
        self._sending: list[SessionEvent] = []  # the batch that JetStream has not acknowledged yet
        self._taken = 0  # facts that have left the queue
        self._traces: deque[tuple[int, TraceContext]] = deque()  # of waiting facts, by number: 1 is the first ever
        self._number = 0
        self._work = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._hurry = False
        self._made = False
        self._why_not = ""  # the last attempt to store something has failed
        self._complaint = Complaint()
        self.dropped = 0
        self.stored = 0

    @property
    def waiting(self) -> int:
        """Facts that are recorded and not stored yet."""
        return len(self._waiting) + len(self._sending)

    @property
    def oldest_at(self) -> int | None:
        """When the oldest of them became true, in Unix milliseconds; None if there is none."""
        if self._sending:
            return self._sending[0].at
        return self._waiting[0].at if self._waiting else None

    @property
    def problem(self) -> str | None:
        if not self._why_not or not self._link.is_connected:
            return None
        return f"stream {subjects.SESSIONS_STREAM}, so that session events wait: {self._why_not}"

    async def start(self) -> None:
        """Makes the stream if it does not exist; its limits are set by the sessions service.

        Raises `NatsAway`, after which `run` tries again, and `NatsRefused`.
        """
        config = stream_config(
            subjects.SESSIONS_STREAM,
            subjects.SESSION_EVENTS_ALL,
            LOG_MAX_AGE_S,
            LOG_DUPLICATE_WINDOW_S,
            max_bytes=LOG_MAX_BYTES,
        )
        await ensure_stream(
            self._link,
            config,
            update=False,
            room_setting="sessions.log_max_bytes (of the sessions service, which then must start first)",
        )
        self._made = True

    def record(self, event: SessionEvent, trace: TraceContext | None = None) -> None:
        if len(self._waiting) >= MAX_WAITING:
            self._waiting.popleft()
            self._taken += 1
            self.dropped += 1
            if self.dropped % 10_000 == 1:
                log.error("%d session events dropped: NATS has been unavailable for too long", self.dropped)
        self._waiting.append(event)
        if trace is not None and len(self._traces) < MAX_TRACES_WAITING:
            self._traces.append((self._taken + len(self._waiting), trace))
        self._idle.clear()
        self._work.set()

    async def flush(self, timeout_s: float) -> bool:
        self._hurry = True
        if not self._idle.is_set():
            log.info("waiting for NATS to store the last session events")
        try:
            async with asyncio.timeout(timeout_s):
                await self._idle.wait()
        except TimeoutError:
            return False
        return True

    async def run(self) -> None:
        """Stores what is recorded, until cancelled."""
        while True:
            await self._work.wait()
            if not self._hurry:
                await asyncio.sleep(_GATHER_S)  # so that a burst of connects makes a few large batches
            self._work.clear()
            while self._waiting:
                await self._store_next()
            self._idle.set()

    async def _store_next(self) -> None:
        events = self._sending = [self._waiting.popleft() for _ in range(min(MAX_BATCH, len(self._waiting)))]
        self._taken += len(events)
        batch, data = self._batch(events)
        while not await self._is_stored(batch, data):
            if len(events) == 1:
                self._drop_too_large(len(data))
                return
            self._halve(events)
            batch, data = self._batch(events)
        self._number += 1
        self.stored += len(events)
        self._sending = []
        while self._traces and self._traces[0][0] <= self._taken:
            self._traces.popleft()

    def _batch(self, events: list[SessionEvent]) -> tuple[EventBatch, bytes]:
        """The next batch, with as many of `events` as fit; the others go back to the queue."""
        while True:
            traces = traces_field([trace for number, trace in self._traces if number <= self._taken])
            batch = EventBatch(self._edge, self._instance, self._number + 1, events, traces=traces)
            data = encode_batch(batch)
            if len(data) <= MAX_BATCH_BYTES or len(events) == 1:
                return batch, data
            self._halve(events)

    def _halve(self, events: list[SessionEvent]) -> None:
        """Puts the second half back at the front of the queue."""
        half = len(events) // 2
        self._taken -= len(events) - half
        self._waiting.extendleft(reversed(events[half:]))
        del events[half:]

    async def _is_stored(self, batch: EventBatch, data: bytes) -> bool:
        """Stores a batch, however long that takes. False if it is larger than a message may be."""
        headers = header_block(Nats_Msg_Id=batch.message_id)
        while True:
            try:
                await store(self._link, self._subject, data, headers, _ACK_TIMEOUT_S)
            except NatsAway as error:
                await self._make_again(error)
            except NatsRefused as error:
                if error.cause == "too_large":  # by the settings of this NATS
                    return False
                self._cannot(str(error))  # a full disk, for example, until an operator frees some space
            else:
                self._can()
                return True
            await asyncio.sleep(_RETRY_S)

    def _drop_too_large(self, size: int) -> None:
        """Drops a fact that NATS never accepts, so that later facts do not wait for it."""
        self._sending = []
        self.dropped += 1
        if self._complaint.due("too large", asyncio.get_running_loop().time()):
            log.error("a session event of %d bytes was dropped: it is larger than NATS takes", size)

    async def _make_again(self, error: NatsAway) -> None:
        """Makes the stream again if it was deleted, or if it did not answer at the start and may not exist."""
        self._cannot(_explained(error))
        if self._made and not isinstance(error, NobodyAnswers):
            return
        try:
            await self.start()
        except (NatsAway, NatsRefused) as failed:
            self._cannot(str(failed))

    def _cannot(self, why: str) -> None:
        self._why_not = why
        problem = self.problem
        if problem is not None and self._complaint.due(why, asyncio.get_running_loop().time()):
            log.warning("%s", problem)

    def _can(self) -> None:
        if self._why_not:
            self._why_not = ""
            log.info("session events are stored again")


def _explained(error: NatsAway) -> str:
    if isinstance(error, NobodyAnswers):
        return "it has no leader, or is gone, or JetStream is off"
    return "JetStream does not acknowledge them" if error.cause == "timeout" else str(error)
