"""Makes and checks the streams of edges, at the start and after each reconnect, and goes on with those that answer."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Coroutine
from typing import Any, Final

from proto import subjects
from services.chassis.nats.link import NatsAway, NatsLink, NatsRefused, NobodyAnswers
from services.chassis.nats.stream_making import ensure_stream, stream_config
from services.chassis.nats.streams import store
from services.chassis.process.tasks import Tasks
from services.edge.broker.broker import MAX_DUPLICATE_WINDOW_S
from services.edge.broker.left_streams_nats import warn_of_left_streams
from services.edge.broker.log_streams_nats import LogStreams
from services.edge.broker.stream_gates_nats import CHECK_TIMEOUT_S, DoesNotStore, StreamGates

log = logging.getLogger(__name__)

MAX_KEYS_BYTES: Final = 256 * 1024 * 1024
"""Idempotency keys, about a million. The oldest go first."""
STALLED_S: Final = 1.0
"""If no further stream has answered for this long, the edge goes on with those that have."""
_FIRST_S: Final = 0.1
"""The same for an edge that was ready before, and still waits for the first stream that can be used."""
_MARKS_FIRST_S: Final = 1.0
"""How long an edge that was connected before waits for the marks: it has heard them until then."""


class LogSetup:
    """`ensure_all` for the edge, `check` for the gates."""

    def __init__(self, link: NatsLink, streams: LogStreams, gates: StreamGates, classes: Collection[str]) -> None:
        self._link = link
        self._streams = streams
        self._gates = gates
        self._classes = classes
        self._looked_for_others = False
        self._tasks = Tasks()

    async def ensure_all(self, *, all_accepted: bool = False) -> None:
        """Makes streams that are missing, and changes limits that differ from the configuration.

        Streams that do not answer are shut, and it returns without them. Raises `NatsAway` or `NatsRefused` if no
        stream can be used, or (`all_accepted`) if NATS refuses one.
        """
        if self._gates.of(subjects.MARKS_STREAM) is None:  # otherwise the gates are checking it
            await self._ensure_or_shut(subjects.MARKS_STREAM, self._start_marks())
        if not self._looked_for_others and self._gates.of(subjects.MARKS_STREAM) is None:
            self._looked_for_others = True  # before streams are made, as left streams may leave no room for them
            await warn_of_left_streams(self._link, self._classes)
        keys = self._tasks.start(self._ensure_or_shut(subjects.KEYS_STREAM, self._ensure_keys()))
        tasks = [keys, *(self._tasks.start(self._ensure_class(each)) for each in self._classes)]
        left, wait_s = set(tasks), STALLED_S
        while left:
            before = len(self._streams.checked)
            done, left = await asyncio.wait(left, timeout=wait_s)
            if not done and self._streams.usable and (before == len(self._streams.checked) or wait_s < STALLED_S):
                break
            if not all_accepted and not self._streams.usable:  # clients wait for the first usable stream
                wait_s = _FIRST_S
        for task in left:
            task.cancel()
        if left:
            self._streams.shut_unchecked()
        if keys in left:
            self._gates.shut(subjects.KEYS_STREAM, NatsAway("no answer in time", "timeout"))
        errors = [task.result() for task in tasks if task not in left]
        refused = [error for error in errors if isinstance(error, NatsRefused)]
        if refused and (all_accepted or not self._streams.usable):
            raise refused[0]
        failed = [error for error in errors if error is not None]
        if failed and not self._streams.usable:
            raise failed[0]

    async def _ensure_or_shut(self, stream: str, ensure: Coroutine[Any, Any, None]) -> NatsAway | NatsRefused | None:
        opened = self._gates.opened(stream)
        try:
            await ensure
        except (NatsAway, NatsRefused) as error:
            if opened == self._gates.opened(stream):  # otherwise another check has succeeded meanwhile
                self._gates.shut(stream, error)
            return error
        return None

    async def _ensure_class(self, history_class: str) -> NatsAway | NatsRefused | None:
        """Ensures the streams of a class. If that fails, shuts the first one unless it was checked; `LogStreams` shuts
        the streams that it knows."""
        try:
            await self._streams.ensure_class(history_class)
        except (NatsAway, NatsRefused) as error:
            first = subjects.log_stream(history_class, 0)
            if first not in self._streams.checked:
                self._gates.shut(first, error)
            return error
        return None

    async def _start_marks(self) -> None:
        try:
            async with asyncio.timeout(_MARKS_FIRST_S if self._looked_for_others else CHECK_TIMEOUT_S):
                await self._streams.marks.start()
        except TimeoutError:
            raise NatsAway("no answer in time", "timeout") from None
        self._gates.open(subjects.MARKS_STREAM)

    async def _ensure_keys(self) -> None:
        await ensure_stream(
            self._link,
            stream_config(
                subjects.KEYS_STREAM,
                subjects.KEYS_ALL,
                MAX_DUPLICATE_WINDOW_S,
                MAX_DUPLICATE_WINDOW_S,
                max_bytes=MAX_KEYS_BYTES,
                allow_msg_ttl=True,
            ),
        )
        self._gates.open(subjects.KEYS_STREAM)

    async def check(self, stream: str, storing: bool) -> None:
        """See `stream_gates_nats.StreamGates`."""
        if stream == subjects.MARKS_STREAM:
            await self._streams.marks.start()
            self._streams.compare_all()
        elif stream == subjects.KEYS_STREAM:
            await self._ensure_keys()
        else:
            await self._streams.check(stream)
            storing = storing and subjects.class_of_stream(stream) in self._classes  # otherwise nobody stores in it
        if storing:
            await self._store_something(stream)

    async def _store_something(self, stream: str) -> None:
        try:
            await store(self._link, subjects.store_check(stream), b"", None, CHECK_TIMEOUT_S)
        except NobodyAnswers:
            raise NatsAway("nobody takes messages for the stream: it has no leader", "away") from None
        except NatsAway as error:
            raise DoesNotStore(error) from None
        except NatsRefused as error:
            if error.cause != "full":  # a stream that is full, and refuses new messages, works as configured
                raise DoesNotStore(error) from None

    def stop(self) -> None:
        """Cancels the tasks in progress."""
        self._tasks.cancel()
