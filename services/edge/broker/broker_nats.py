"""The broker on NATS: channels with history use partitioned JetStream streams, channels without use core NATS."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

from proto import subjects
from proto.messages import Publication, StreamPosition
from proto.publications import BadPublication, Version, decode_publication, encode_removal, published_at, removed_upto
from proto.subjects import LogAddress
from proto.trace_context import sampled_in
from services.chassis.nats.link import NatsAway, NatsLink, NatsRefused, NobodyAnswers
from services.chassis.nats.stream_reads import StoredMessage, read_last, read_stream
from services.chassis.nats.streams import WrongSequence, audited_purge, expect_last, purge, store
from services.chassis.process.complaint import Complaint
from services.edge.broker.broker import (
    READ_BYTES,
    Audit,
    BrokerAway,
    BrokerEvents,
    BrokerRefused,
    ChannelAddress,
    Indexed,
    KeySearch,
    LogEntry,
    LogPage,
    LogState,
    Retained,
)
from services.edge.broker.broker_clock_nats import NatsClock
from services.edge.broker.channel_subscription import ChannelSubscription
from services.edge.broker.key_search_nats import search_key
from services.edge.broker.log_audit_nats import LogAudit
from services.edge.broker.log_setup_nats import LogSetup
from services.edge.broker.log_streams_nats import LogStreams
from services.edge.broker.publisher_nats import NatsPublisher
from services.edge.broker.stream_gates_nats import StreamGates
from services.edge.broker.stream_health_nats import NatsStreamHealth
from services.edge.broker.voucher_nats import Voucher
from services.edge.channel_settings import ChannelOptions

log = logging.getLogger(__name__)

T = TypeVar("T")

_RETURN_RETRY_S: Final = 0.5

READS_AT_ONCE: Final = 8
"""Reads of logs in progress. With `READ_BYTES` each, and up to one more entry, NATS holds about 2 MB for the edge to
take: far below the max_pending of NATS, 64 MB, at which it drops the edge, and little for a live message to wait
behind."""
DELETED_S: Final = 1.0
"""How long the edge waits before it makes a deleted stream again that nobody uses: an operator may be restoring a
copy."""

SEARCHES_AT_ONCE: Final = 2
"""Searches for message ids in progress. Each reads a page at a time."""
LOOKS_AT_ONCE: Final = 16
"""Reads of newest entries in progress. Each reads one entry, of any size."""


class NatsBroker:
    """See `broker.Broker`. `classes` are the options by history class; `instance` makes message ids unique."""

    def __init__(
        self, link: NatsLink, classes: dict[str, ChannelOptions], partitions: int, instance: str, max_in_flight: int
    ) -> None:
        classes = dict(classes)  # a reload changes this copy
        self._link = link
        self.gates = StreamGates(link, self._check, self._suspend, self._resume)
        self.clock = NatsClock(link)
        self.now = self.clock.clock.now
        self._streams = LogStreams(link, classes, partitions, self.gates, self.now, self._logs_checked)
        self._voucher = Voucher(link, self._streams)
        self._setup = LogSetup(link, self._streams, self.gates, classes)
        self.classes = self._streams.classes
        self._known = self._streams.known
        self.index = NatsLogIndex(link, self._streams, self.gates)
        self.health = NatsStreamHealth(self._streams, self.gates)
        self._publisher = NatsPublisher(link, self._streams, self.gates, instance, max_in_flight, self.now)
        self.in_flight = self._publisher.in_flight
        self._open: dict[ChannelAddress, ChannelSubscription] = {}
        self._audit = LogAudit(link, self._streams, self.gates, self._open, self._log_of)
        self._events: BrokerEvents | None = None
        self._started = False
        self._ready = False
        self._returning: asyncio.Task[None] | None = None
        self._reads = asyncio.Semaphore(READS_AT_ONCE)
        self._looks = asyncio.Semaphore(LOOKS_AT_ONCE)

    # --- the connection ----------------------------------------------------------------------------------------------

    async def start(self, events: BrokerEvents) -> None:
        """Makes or checks the streams; from then on `events` gets the events.

        Streams that do not answer are shut, and it goes on without them. Raises `BrokerAway` if none answers, and
        `BrokerRefused` if NATS refuses to make or change one.
        """
        self._events = events
        await _reach(self._setup.ensure_all(all_accepted=True))
        if not self._started:
            for advisories in subjects.STREAM_ADVISORIES:
                self._link.subscribe(advisories, self._advised)
            self._link.subscribe(subjects.AUDIT, self._audited)
            self._link.subscribe(subjects.STREAM_CHANGES, self._changed)
            self._link.subscribe(subjects.LEADERS_ELECTED, self._led)
            self._voucher.start()
            self._streams.marking.start()
            self.gates.news.start()
        self._ready = self._started = True

    @property
    def available(self) -> bool:
        return self._ready and self._link.is_connected

    def on_link(self, connected: bool) -> None:
        """The link is connected (again), and NATS may have restarted without its store; or the link has dropped."""
        self._end_return()
        if not connected:
            self._disconnected()
            return
        self._publisher.keys.connected()
        if self._started:
            self._returning = asyncio.get_running_loop().create_task(self._return())

    def _disconnected(self) -> None:
        self._ready = False
        self._streams.disconnected()
        for subscription in self._open.values():
            subscription.disconnected()
        if self._started and self._events is not None:
            self._events.broker_disconnected()

    def stop(self) -> None:
        """Cancels reads of streams that are in progress."""
        self._end_return()
        self.gates.stop()
        self._setup.stop()
        self._voucher.stop()
        self._streams.stop()
        self._publisher.stop()

    def _end_return(self) -> None:
        if self._returning is not None:
            self._returning.cancel()

    async def _return(self) -> None:
        """Makes the broker available again once all streams that answer are checked; the others are shut."""
        assert self._events is not None
        complaint = Complaint()
        while True:
            try:
                await _reach(self._setup.ensure_all())
                break
            except (BrokerAway, BrokerRefused) as error:
                if complaint.due(error.for_log, asyncio.get_running_loop().time()):
                    log.warning("streams not ready after reconnect, retrying: %s", error.for_log)
                await asyncio.sleep(_RETURN_RETRY_S)
        self._ready = True
        self._events.broker_connected()

    async def _check(self, stream: str, storing: bool) -> None:
        await self._setup.check(stream, storing)

    def _suspend(self, stream: str) -> None:
        self._known.heard(stream).suspend(suspect=False)

    def _resume(self, stream: str) -> None:
        self._streams.resume(stream)

    def _led(self, subject: bytes, reply: bytes, headers: bytes | None, data: bytes) -> None:
        """A stream of a cluster has a leader: a new one, or one again."""
        stream = subjects.advised_stream(subject.decode(errors="replace"))[0]
        self.gates.poke(stream)
        self._streams.compare(stream)

    def _advised(self, subject: bytes, reply: bytes, headers: bytes | None, data: bytes) -> None:
        """NATS says that a stream was made, deleted or restored, perhaps by this edge."""
        stream, deleted = subjects.advised_stream(subject.decode(errors="replace"))
        self._streams.check_soon(stream, DELETED_S if deleted else 0.0)

    def _audited(self, subject: bytes, reply: bytes, headers: bytes | None, data: bytes) -> None:
        """Somebody has sent a request to JetStream's API, perhaps this edge: called very often."""
        stream = subjects.audited_removal(data)
        if not stream:
            return
        purged, before = audited_purge(data)
        if purged and before:
            address = ChannelAddress(subjects.channel_of(purged), subjects.class_of_stream(stream))
            subscription = self._open.get(address)
            if subscription is None or subscription.mark == before:
                return  # an edge removed a history: no ring holds it, or the channel has received the mark
        self._streams.read_limits_soon(stream)

    def _changed(self, subject: bytes, reply: bytes, headers: bytes | None, data: bytes) -> None:
        """The limits or the metadata of a stream were changed."""
        self._streams.read_limits_soon(subjects.advised_stream(subject.decode(errors="replace"))[0])

    def _logs_checked(self, stream: str) -> None:
        for subscription in self._open.values():
            if subscription.where.stream == stream:
                subscription.disconnected()  # live messages of the stream were dropped, or are of another log
        if self._started and self._events is not None:
            self._events.logs_checked()

    # --- channels ----------------------------------------------------------------------------------------------------

    async def open(self, address: ChannelAddress) -> None:
        assert self._events is not None, "open() before start()"
        if address.history_class:
            where = self._where(address)
            subscription = ChannelSubscription(address.channel, self._events, where, self._known.heard(where.stream))
            subscription.number = self._link.subscribe(subscription.where.live, subscription.live)
            self._open[address] = subscription
        else:
            subscription = ChannelSubscription(address.channel, self._events)
            subscription.number = self._link.subscribe(subjects.ephemeral(address.channel), subscription.ephemeral)
            self._open[address] = subscription
            # With history, the read that follows ensures that the server knows of the subscription. Without history,
            # nothing else would, and a client that has its subscribe reply must not miss later publications.
            await _reach(self._link.flush())

    def close(self, address: ChannelAddress) -> None:
        subscription = self._open.pop(address, None)
        if subscription is not None:
            self._link.unsubscribe(subscription.number)

    def _log_of(self, address: ChannelAddress) -> LogAddress:
        """Where the log of a channel is, whether or not it can be used."""
        subscription = self._open.get(address)
        if subscription is not None:
            return subscription.where
        try:
            return self._streams.address(address)
        except NatsAway as error:
            raise BrokerAway(str(error), error.cause) from None

    def _where(self, address: ChannelAddress) -> LogAddress:
        """The same. Raises `BrokerAway` if it cannot be used."""
        where = self._log_of(address)
        shut = self.gates.of(where.stream)
        if shut is not None:
            raise BrokerAway(shut.why, shut.cause)
        return where

    async def publish(
        self,
        address: ChannelAddress,
        publication: Publication,
        message_id: str = "",
        version: Version | None = None,
        confirm: bool = False,
    ) -> StreamPosition | None:
        if not self.available:
            raise BrokerAway("NATS is unavailable")
        if address.history_class:
            return await self._publisher.store(self._log_of(address), publication, message_id, version)
        await self._send(subjects.ephemeral(address.channel), address, publication, message_id, confirm)
        return None

    async def publish_past_log(
        self, address: ChannelAddress, publication: Publication, message_id: str = "", confirm: bool = False
    ) -> None:
        if not self.available:
            raise BrokerAway("NATS is unavailable")
        await self._send(self._log_of(address).live, address, publication, message_id, confirm)

    async def _send(
        self, subject: str, address: ChannelAddress, publication: Publication, message_id: str, confirm: bool
    ) -> None:
        await self._publisher.send(subject, subjects.idempotency_key(address.channel), publication, message_id)
        if confirm:
            await self._publisher.sent()

    async def remove_history(self, address: ChannelAddress) -> None:
        if not self.available:
            raise BrokerAway("NATS is unavailable")
        where = self._where(address)
        while True:
            newest = await self._ask(where.stream, lambda: read_last(self._link, where.stream, where.stored))
            if newest is None:
                return
            if removed_upto(newest.headers):  # the removal is marked, but an earlier call may have failed to purge
                mark = newest.sequence
                break
            try:
                # The mark comes first: it shows what is missing, whether or not the purge has happened yet.
                headers = expect_last(encode_removal(newest.sequence), newest.sequence)
                mark = (await _reach(store(self._link, where.stored, b"", headers))).sequence
                break
            except WrongSequence:
                continue
        await _reach(purge(self._link, where.stream, where.stored, before=mark))

    # --- the log -----------------------------------------------------------------------------------------------------

    async def read(self, address: ChannelAddress, from_offset: int, limit: int) -> LogPage:
        async with self._reads:
            where = self._where(address)  # it may have waited for its turn
            messages, left = await self._ask(
                where.stream,
                lambda: read_stream(self._link, where.stream, from_offset, limit, where.stored, READ_BYTES),
            )
        return LogPage([_entry(message) for message in messages], left)

    async def newest(self, address: ChannelAddress) -> LogEntry | None:
        async with self._looks:
            where = self._where(address)
            message = await self._ask(where.stream, lambda: read_last(self._link, where.stream, where.stored))
        return None if message is None else _entry(message)

    async def state(self, address: ChannelAddress) -> LogState:
        return await _reach(self._streams.fresh_state(self._log_of(address).stream))

    def epoch(self, address: ChannelAddress) -> str:
        return self._known.epoch(self._log_of(address).stream)

    def continued(self, address: ChannelAddress, position: StreamPosition) -> StreamPosition:
        return self._known.continued(self._log_of(address).stream, position)

    async def audit(self, positions: dict[ChannelAddress, int]) -> Audit:
        return await self._audit.of(positions)

    async def _ask(self, stream: str, call: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Reads a stream. If the stream was deleted, it is made again first."""

        async def ask() -> T:
            try:
                return await call()
            except NobodyAnswers:
                await self._streams.fresh_state(stream)
                return await call()

        return await _reach(ask())


class NatsLogIndex:
    """The index of the logs, see `broker.LogIndex`."""

    def __init__(self, link: NatsLink, streams: LogStreams, gates: StreamGates) -> None:
        self._link = link
        self._searches = asyncio.Semaphore(SEARCHES_AT_ONCE)
        self._streams = streams
        self._gates = gates

    @property
    def kept(self) -> bool:
        return not self._streams.indexes.refused

    def retained(self, address: ChannelAddress) -> Retained:
        return self._streams.limits.of(self._streams.address(address).stream)

    async def after(
        self, address: ChannelAddress, epoch: str, offset: int, upto: int, named_upto: int = 0, first: int = 0
    ) -> Indexed | None:
        where = self._streams.address(address)
        if self._gates.of(where.stream) is not None:
            raise BrokerAway("the stream does not answer")
        return await _reach(self._streams.indexes.after(where, epoch, offset, upto, named_upto, first))

    async def search(self, address: ChannelAddress, message_id: str, since: float) -> KeySearch:
        return await _reach(self._search(address, message_id, since))

    async def _search(self, address: ChannelAddress, message_id: str, since: float) -> KeySearch:
        async with self._searches:
            where = self._streams.address(address)
            if self._gates.of(where.stream) is not None:
                raise BrokerAway("the stream does not answer")
            log_now = await self._streams.fresh_state(where.stream)
            return await search_key(self._link, where, log_now, message_id, since)


async def _reach(call: Coroutine[Any, Any, T]) -> T:
    try:
        return await call
    except NatsAway as error:
        raise BrokerAway(str(error), error.cause) from None
    except WrongSequence:
        raise
    except NatsRefused as error:
        raise BrokerRefused(str(error), error.cause) from None


def _entry(message: StoredMessage) -> LogEntry:
    try:
        publication = decode_publication(message.headers, message.data, message.sequence)
    except BadPublication:
        return LogEntry(message.sequence, None, removed_upto(message.headers))
    return LogEntry(message.sequence, publication, 0, published_at(message.headers), sampled_in(message.headers))
