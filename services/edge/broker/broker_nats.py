"""The broker on NATS: channels with history in partitioned JetStream streams, channels without on core NATS."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections import defaultdict
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

from proto import subjects
from proto.messages import Publication, StreamPosition
from proto.publications import (
    MESSAGE_ID,
    BadPublication,
    Version,
    decode_live,
    decode_publication,
    encode_headers,
    encode_removal,
    removed_upto,
    version_of,
)
from services.chassis.link_nats import NatsAway, NatsLink, NatsRefused
from services.chassis.streams_nats import (
    Stored,
    StoredMessage,
    WrongSequence,
    expect_last,
    purge,
    read_last,
    read_last_of,
    read_stream,
    store,
)
from services.edge.broker.broker import (
    BrokerAway,
    BrokerEvents,
    BrokerRefused,
    ChannelAddress,
    Entry,
    LogState,
    Stretch,
)
from services.edge.broker.log_streams_nats import LogStreams
from services.edge.settings import ChannelOptions

log = logging.getLogger(__name__)

T = TypeVar("T")

PUBLISH_DEADLINE_S: Final = 4.0
"""Below the 5 s after which SDKs give up on a command."""
_RETRY_WAIT_S: Final = 0.05
_RETURN_RETRY_S: Final = 0.5


class NatsBroker:
    """See `broker.Broker`. `instance` makes this process's message ids its own."""

    def __init__(
        self, link: NatsLink, classes: dict[str, ChannelOptions], partitions: int, instance: str, max_in_flight: int
    ) -> None:
        self._link = link
        self._streams = LogStreams(link, classes, partitions)
        self._open: dict[ChannelAddress, int] = {}
        self._events: BrokerEvents | None = None
        self._ids = itertools.count(1)
        self._instance = instance
        self._in_flight = asyncio.Semaphore(max_in_flight)
        self._started = False
        self._ready = False
        self._returning: asyncio.Task[None] | None = None

    # --- coming and going --------------------------------------------------------------------------------------------

    async def start(self, events: BrokerEvents) -> None:
        """Makes or checks the streams. Raises `BrokerAway`, `BrokerRefused`. From then on `events` is told."""
        self._events = events
        await self._reach(self._streams.ensure_all())
        self._ready = self._started = True

    @property
    def available(self) -> bool:
        return self._ready and self._link.is_connected

    def link_found(self) -> None:
        """The link's word that it is connected (again). NATS may have come back without its store."""
        if self._started:
            self._end_return()
            self._returning = asyncio.get_running_loop().create_task(self._return())

    def link_lost(self) -> None:
        self._end_return()
        self._ready = False
        if self._started and self._events is not None:
            self._events.broker_lost()

    def stop(self) -> None:
        """Ends what is under way."""
        self._end_return()

    def _end_return(self) -> None:
        if self._returning is not None:
            self._returning.cancel()

    async def _return(self) -> None:
        """Available again once every stream is there."""
        assert self._events is not None
        while True:
            try:
                await self._reach(self._streams.ensure_all())
                break
            except (BrokerAway, BrokerRefused) as error:
                log.warning("the streams are not there again, trying on: %s", error)
                await asyncio.sleep(_RETURN_RETRY_S)
        self._ready = True
        self._events.broker_found()

    # --- channels ----------------------------------------------------------------------------------------------------

    async def open(self, address: ChannelAddress) -> None:
        channel = address.channel
        events = self._events
        assert events is not None, "open() before start()"
        if address.history_class:

            def handler(subject: bytes, reply: bytes, headers: bytes | None, data: bytes) -> None:
                try:
                    events.live(channel, decode_live(headers, data))
                except BadPublication as error:
                    log.warning("a message on %s is ignored: %s", subject.decode(errors="replace"), error)

            self._open[address] = self._link.listen(self._streams.address(address).live, handler)
        else:

            def handler(subject: bytes, reply: bytes, headers: bytes | None, data: bytes) -> None:
                try:
                    events.ephemeral(channel, decode_publication(headers, data))
                except BadPublication as error:
                    log.warning("a message on %s is ignored: %s", subject.decode(errors="replace"), error)

            self._open[address] = self._link.listen(subjects.ephemeral(channel), handler)
            # With history the read that follows waits for the server to know of the subscription, here nothing would:
            # a client told "subscribed" must not miss what is published a moment later.
            await self._reach(self._link.settle())

    def close(self, address: ChannelAddress) -> None:
        number = self._open.pop(address, None)
        if number is not None:
            self._link.unlisten(number)

    async def publish(
        self, address: ChannelAddress, publication: Publication, message_id: str = "", version: Version | None = None
    ) -> StreamPosition | None:
        if not self.available:
            raise BrokerAway("NATS is away")
        try:
            async with asyncio.timeout(PUBLISH_DEADLINE_S):
                if not address.history_class:
                    await self._send_once(subjects.ephemeral(address.channel), address, publication, message_id)
                    return None
                async with self._in_flight:
                    return await self._store(address, publication, message_id, version)
        except TimeoutError:
            raise BrokerAway("not acknowledged in time") from None

    async def _send_once(
        self, subject: str, address: ChannelAddress, publication: Publication, message_id: str
    ) -> None:
        if message_id:
            # The key is stored before the publication goes out: what fails in between is lost, never doubled, which is
            # what a channel without history promises.
            stored, attempts = await self._try_store(
                subjects.idempotency_key(address.channel), b"", _id_headers(message_id)
            )
            if stored.duplicate and attempts == 1:  # otherwise it may be our own first attempt that is known already
                return
        self._send(subject, publication)

    async def publish_past_log(self, address: ChannelAddress, publication: Publication, message_id: str = "") -> None:
        if not self.available:
            raise BrokerAway("NATS is away")
        try:
            async with asyncio.timeout(PUBLISH_DEADLINE_S):
                await self._send_once(self._streams.address(address).live, address, publication, message_id)
        except TimeoutError:
            raise BrokerAway("not acknowledged in time") from None

    def _send(self, subject: str, publication: Publication) -> None:
        try:
            self._link.publish_now(subject, bytes(publication.data), encode_headers(publication))
        except NatsAway as error:
            raise BrokerAway(str(error)) from None
        except NatsRefused as error:
            raise BrokerRefused(str(error)) from None

    async def _store(
        self, address: ChannelAddress, publication: Publication, message_id: str, version: Version | None
    ) -> StreamPosition:
        where = self._streams.address(address)
        data = bytes(publication.data)
        headers = encode_headers(publication, message_id or f"{self._instance}.{next(self._ids)}", version)
        while version is not None:
            # Stored only behind the newest one that was compared with: who loses a race compares again.
            newest = await self._reach(read_last(self._link, where.stream, where.stored))
            last = 0 if newest is None else newest.sequence
            if newest is not None and not version.is_newer_than(version_of(newest.headers)):
                return StreamPosition(last, self._streams.epoch(where.stream))
            try:
                stored, _ = await self._try_store(where.stored, data, expect_last(headers, last))
                break
            except WrongSequence:
                continue
        else:
            stored, _ = await self._try_store(where.stored, data, headers)
        self._streams.seen(where.stream, stored.sequence)
        return StreamPosition(stored.sequence, self._streams.epoch(where.stream))

    async def _try_store(self, subject: str, data: bytes, headers: bytes | None) -> tuple[Stored, int]:
        """Until the acknowledgement or the caller's deadline, and how many attempts it took.

        The message id makes every further attempt harmless. Raises `BrokerRefused`, and `WrongSequence` as it is.
        """
        for attempt in itertools.count(1):
            try:
                return await store(self._link, subject, data, headers, PUBLISH_DEADLINE_S), attempt
            except NatsAway:
                await asyncio.sleep(_RETRY_WAIT_S)
            except WrongSequence:
                raise
            except NatsRefused as error:
                raise BrokerRefused(str(error)) from None
        raise AssertionError("counting has no end")

    async def remove_history(self, address: ChannelAddress) -> None:
        if not self.available:
            raise BrokerAway("NATS is away")
        where = self._streams.address(address)
        while True:
            newest = await self._reach(read_last(self._link, where.stream, where.stored))
            if newest is None:
                return
            try:
                # The mark goes first: whoever meets it knows what is missing, whether or not it is gone already.
                headers = expect_last(encode_removal(newest.sequence), newest.sequence)
                mark = await self._reach(store(self._link, where.stored, b"", headers))
                break
            except WrongSequence:
                continue
        await self._reach(purge(self._link, where.stream, where.stored, before=mark.sequence))

    # --- the log -----------------------------------------------------------------------------------------------------

    async def read(self, address: ChannelAddress, from_offset: int, limit: int) -> Stretch:
        where = self._streams.address(address)
        messages, more = await self._reach(read_stream(self._link, where.stream, from_offset, limit, where.stored))
        return Stretch([_entry(message) for message in messages], more)

    async def newest(self, address: ChannelAddress) -> Entry | None:
        where = self._streams.address(address)
        message = await self._reach(read_last(self._link, where.stream, where.stored))
        return None if message is None else _entry(message)

    async def state(self, address: ChannelAddress) -> LogState:
        return await self._reach(self._streams.fresh_state(self._streams.address(address).stream))

    def epoch(self, address: ChannelAddress) -> str:
        return self._streams.epoch(self._streams.address(address).stream)

    async def behind(self, positions: dict[ChannelAddress, int]) -> list[ChannelAddress]:
        by_stream: defaultdict[str, dict[str, ChannelAddress]] = defaultdict(dict)
        for address in positions:
            where = self._streams.address(address)
            by_stream[where.stream][where.stored] = address
        found: list[ChannelAddress] = []
        for stream, channels in by_stream.items():
            before = self._streams.epoch(stream)
            state = await self._reach(self._streams.fresh_state(stream))
            if state.epoch != before:
                found.extend(channels.values())
                continue
            if all(positions[address] >= state.last for address in channels.values()):
                continue
            for message in await self._reach(read_last_of(self._link, stream, list(channels))):
                address = channels[message.subject.decode()]
                if message.sequence > positions[address]:
                    found.append(address)
        return found

    async def _reach(self, call: Coroutine[Any, Any, T]) -> T:
        try:
            return await call
        except NatsAway as error:
            raise BrokerAway(str(error)) from None
        except WrongSequence:
            raise
        except NatsRefused as error:
            raise BrokerRefused(str(error)) from None


def _id_headers(message_id: str) -> bytes:
    return f"NATS/1.0\r\n{MESSAGE_ID}: {message_id}\r\n\r\n".encode()


def _entry(message: StoredMessage) -> Entry:
    try:
        return Entry(message.sequence, decode_publication(message.headers, message.data, message.sequence))
    except BadPublication:
        return Entry(message.sequence, None, removed_upto(message.headers))
