"""Publishes on NATS: into the log with an acknowledgement, or past the log; once for each idempotency key.

One deadline holds for a whole publish: waiting for its turn, all attempts, the acknowledgement.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Callable
from typing import Final

from proto.messages import Publication, StreamPosition
from proto.publications import MESSAGE_ID, Version, encode_headers, version_of
from proto.subjects import KEYS_STREAM, LogAddress
from services.chassis.nats.link import NatsAway, NatsLink, NatsRefused, NobodyAnswers
from services.chassis.nats.stream_reads import read_last, read_stream
from services.chassis.nats.streams import Stored, WrongSequence, expect_last, store
from services.chassis.process.tasks import Tasks
from services.chassis.tracing.span import active_context, observe_traced
from services.edge.broker.broker import BrokerAway, BrokerRefused, FailureCause
from services.edge.broker.in_flight import InFlight
from services.edge.broker.log_streams_nats import LogStreams
from services.edge.broker.stored_keys_nats import StoredKeys
from services.edge.broker.stream_gates_nats import StreamGates

log = logging.getLogger(__name__)

PUBLISH_DEADLINE_S: Final = 4.0
"""Below the 5 s after which SDKs give up on a command."""

WAITING_PER_PLACE: Final = 16
"""Publishes that may wait for their turn, for each one that may be in flight: they wait far less than a second."""

_RETRY_WAIT_S: Final = 0.05
_LONGEST_WAIT_S: Final = 0.4
_ATTEMPT_S: Final = 2.0
"""After so long without an acknowledgement a publish is sent again, and the stream is checked."""


class NatsPublisher:
    """Publishes for the broker. `now` is its clock; `instance` makes the message ids of this process unique."""

    def __init__(
        self,
        link: NatsLink,
        streams: LogStreams,
        gates: StreamGates,
        instance: str,
        max_in_flight: int,
        now: Callable[[], float],
    ) -> None:
        self._link = link
        self._streams = streams
        self._known = streams.known
        self._gates = gates
        self._instance = instance
        self._now = now
        self._ids = itertools.count(1)
        self.in_flight = InFlight(max_in_flight, max_in_flight * WAITING_PER_PLACE)
        self.keys = StoredKeys(link)
        self._tasks = Tasks()
        self._flush: asyncio.Task[NatsAway | None] | None = None

    async def store(
        self, where: LogAddress, publication: Publication, message_id: str, version: Version | None
    ) -> StreamPosition:
        """Stores a publication, and returns its position, or the position of the one that made it superfluous.

        Raises `BrokerAway`, `BrokerRefused`.
        """
        self._check_open(where.stream, message_id)
        deadline = _deadline()
        data = bytes(publication.data)
        name = message_id or f"{self._instance}.{next(self._ids)}"
        headers = encode_headers(publication, name, version, self._now(), active_context())
        await self.in_flight.enter(deadline)
        try:
            self._check_open(where.stream, message_id)  # it may have waited for its turn
            if message_id and (stored := await self._stored_before(where, message_id, deadline)) is not None:
                return stored
            if version is None:
                sequence = await self._store(where, data, headers, deadline)
            else:
                sequence = await self._store_if_newer(where, data, headers, version, deadline)
            self._known.seen(where.stream, sequence)
            at = StreamPosition(sequence, self._known.epoch(where.stream))
            if message_id:
                record = self.keys.record(where.stream, message_id, at, self._streams.window_s(where.stream))
                await self._try_store(KEYS_STREAM, *record, deadline)
            return at
        finally:
            self.in_flight.leave()

    def _check_open(self, stream: str, message_id: str) -> None:
        shut = self._gates.of(stream) or (self._gates.of(KEYS_STREAM) if message_id else None)
        if shut is not None:
            raise BrokerAway(shut.why, shut.cause)

    async def _stored_before(self, where: LogAddress, message_id: str, deadline: float) -> StreamPosition | None:
        """The position of an earlier publication with this key, if JetStream itself may have forgotten the key."""
        if not self.keys.may_be_forgotten(self._streams.window_s(where.stream)):
            return None
        while True:
            try:
                found = await self.keys.find(where.stream, message_id, _left(deadline))
                break
            except NatsAway as error:
                self._gates.unstored(KEYS_STREAM)
                _left(deadline, error.cause)
                await asyncio.sleep(_RETRY_WAIT_S)
        if found is None:
            return None
        found = self._known.continued(where.stream, found)
        return found if found.epoch == self._known.epoch(where.stream) else None  # otherwise it was lost

    async def _store(self, where: LogAddress, data: bytes, headers: bytes | None, deadline: float) -> int:
        before = self._known.last_seen(where.stream)
        stored, _ = await self._try_store(where.stream, where.stored, data, headers, deadline)
        if self._known.in_doubt(where.stream) or (stored.sequence <= before and not stored.duplicate):
            try:  # another log may have taken the place of the one before
                await self._streams.fresh_state(where.stream)
            except NatsAway as error:
                raise BrokerAway(str(error), error.cause) from None
        return stored.sequence

    async def _store_if_newer(
        self, where: LogAddress, data: bytes, headers: bytes | None, version: Version, deadline: float
    ) -> int:
        while True:
            # It is stored only right after the publication that it was compared with: after a lost race, compare again.
            try:
                newest = await read_last(self._link, where.stream, where.stored, _left(deadline))
            except NobodyAnswers as error:
                self._gates.unstored(where.stream)
                _left(deadline, error.cause)
                await asyncio.sleep(_RETRY_WAIT_S)
                continue
            except NatsAway as error:
                raise BrokerAway(str(error), error.cause) from None
            last = 0 if newest is None else newest.sequence
            if newest is not None and not version.is_newer_than(version_of(newest.headers)):
                return last
            try:
                return await self._store(where, data, expect_last(headers, last), deadline)
            except WrongSequence:
                continue

    async def send(self, subject: str, key_subject: str, publication: Publication, message_id: str) -> None:
        """Publishes without storing. A `message_id` is stored on `key_subject`, so that it is published only once.

        Raises `BrokerAway`, `BrokerRefused`.
        """
        headers = encode_headers(publication, at=self._now(), trace=active_context())
        if message_id:
            # The key is stored before the publication goes out: after a failure in between, the publication is lost but
            # never doubled, as a channel without history promises.
            self._check_open(KEYS_STREAM, "")
            deadline = _deadline()
            await self.in_flight.enter(deadline)
            try:
                key, mine = _id_headers(message_id), f"{self._instance}.{next(self._ids)}".encode()
                stored, attempts = await self._try_store(KEYS_STREAM, key_subject, mine, key, deadline)
                # After several attempts, an earlier one may have stored the key although its acknowledgement was lost.
                if stored.duplicate and (attempts == 1 or not await self._is_stored(stored.sequence, mine, deadline)):
                    return
            finally:
                self.in_flight.leave()
        try:
            self._link.publish(subject, bytes(publication.data), headers)
        except NatsAway as error:
            raise BrokerAway(str(error), error.cause) from None
        except NatsRefused as error:
            raise BrokerRefused(str(error), error.cause) from None

    async def _is_stored(self, sequence: int, mine: bytes, deadline: float) -> bool:
        """Whether the key with this sequence was stored with this body."""
        try:
            found, _ = await read_stream(self._link, KEYS_STREAM, sequence, 1, timeout_s=_left(deadline))
        except NatsAway as error:
            raise BrokerAway(str(error), error.cause) from None
        return any((key.sequence, key.data) == (sequence, mine) for key in found)

    async def sent(self) -> None:
        """Returns when NATS has processed everything that was sent until now. Raises `BrokerAway`."""
        flush = self._flush
        if flush is None:
            flush = self._flush = self._tasks.start(self._flush_soon())
        await asyncio.wait([flush])
        if flush.cancelled():
            raise BrokerAway("the edge stops")
        if (error := flush.result()) is not None:
            raise BrokerAway(str(error), error.cause)

    async def _flush_soon(self) -> NatsAway | None:
        """Returns the error, None if it succeeded. All publishes of one turn of the loop share a round trip."""
        await asyncio.sleep(0)
        self._flush = None
        try:
            await self._link.flush(PUBLISH_DEADLINE_S)
        except NatsAway as error:
            return error
        return None

    def stop(self) -> None:
        """Cancels flushes in progress."""
        self._tasks.cancel()

    async def _try_store(
        self, stream: str, subject: str, data: bytes, headers: bytes | None, deadline: float
    ) -> tuple[Stored, int]:
        """Retries until acknowledged or past the deadline; returns the acknowledgement and the number of attempts.

        A stream that was deleted is made again. The message id makes further attempts harmless. Raises `BrokerAway`,
        `BrokerRefused`; lets `WrongSequence` through.
        """
        cause: FailureCause = "timeout"
        began = asyncio.get_running_loop().time()
        wait_s = _RETRY_WAIT_S
        for attempt in itertools.count(1):
            left = min(_left(deadline, cause), _ATTEMPT_S)
            try:
                stored = await store(self._link, subject, data, headers, left)
                observe_traced(self.in_flight.ack_seconds, asyncio.get_running_loop().time() - began)
                self._gates.stored(stream)
                return stored, attempt
            except NatsAway as error:
                why = self._gates.unstored(stream)  # this also makes a deleted stream again
                cause = why if error.cause == "timeout" else error.cause
                await asyncio.sleep(wait_s)
                wait_s = min(2 * wait_s, _LONGEST_WAIT_S)
            except WrongSequence:
                raise
            except NatsRefused as error:
                if error.cause == "storage":
                    self._gates.shut(stream, error, stores=False)
                    raise BrokerAway(str(error), "storage") from None
                raise BrokerRefused(_explained(stream, error), error.cause) from None
        raise AssertionError("counting has no end")


def _deadline() -> float:
    return asyncio.get_running_loop().time() + PUBLISH_DEADLINE_S


def _left(deadline: float, cause: FailureCause = "timeout") -> float:
    """The seconds until the deadline. After it, raises `BrokerAway` with `cause`, the cause of the last attempt."""
    left = deadline - asyncio.get_running_loop().time()
    if left <= 0:
        raise BrokerAway("not acknowledged in time", cause)
    return left


def _explained(stream: str, error: NatsRefused) -> str:
    """Why a publication was not stored, in terms of the settings."""
    if stream == KEYS_STREAM or error.cause != "full":
        return str(error)
    return f"the namespace's history_max_bytes are used up (stream {stream}: {error})"


def _id_headers(message_id: str) -> bytes:
    return f"NATS/1.0\r\n{MESSAGE_ID}: {message_id}\r\n\r\n".encode()
