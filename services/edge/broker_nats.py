"""The broker on NATS: channels with history in partitioned JetStream streams, channels without on core NATS.

One stream holds one partition of one history class, keeps `history_size` messages a channel for `history_ttl`, and
republishes what it has stored to the subject that edges listen on. Whoever comes first makes the streams. The number of
partitions decides which stream a channel is in, so the first maker's number is kept in the streams' metadata and wins
over later configurations: two edges must never disagree on it.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections import defaultdict
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

from nats.js.api import RePublish, RetentionPolicy, StorageType, StreamConfig

from proto import subjects
from proto.messages import Publication, StreamPosition
from proto.publications import BadPublication, decode_live, decode_publication, encode_headers
from services.chassis.link_nats import NatsAway, NatsLink, NatsRefused
from services.chassis.streams_nats import (
    StoredMessage,
    StreamState,
    ensure_stream,
    read_last,
    read_last_of,
    read_stream,
    renew_epoch,
    store,
    stream_state,
)
from services.edge.broker import BrokerAway, BrokerEvents, BrokerRefused, ChannelAddress, Entry, LogState, Stretch
from services.edge.settings import ChannelOptions

log = logging.getLogger(__name__)

T = TypeVar("T")

PARTITIONS_KEY: Final = "fairlead-partitions"
MAX_DUPLICATE_WINDOW_S: Final = 300.0
"""How long an idempotency key is remembered, unless the history itself is shorter."""
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
        self._classes = classes
        self._wanted_partitions = partitions
        self._partitions: dict[str, int] = {}
        self._epochs: dict[str, str] = {}
        self._last_seen: dict[str, int] = {}
        self._open: dict[ChannelAddress, int] = {}
        self._events: BrokerEvents | None = None
        self._ids = itertools.count(1)
        self._instance = instance
        self._in_flight = asyncio.Semaphore(max_in_flight)
        self._started = False
        self._ready = False
        self._returning: asyncio.Task[None] | None = None

    # --- coming up --------------------------------------------------------------------------------------------------

    async def start(self, events: BrokerEvents) -> None:
        """Makes or checks the streams. Raises `BrokerAway`, `BrokerRefused`. From then on `events` is told."""
        self._events = events
        await self._ensure_all()
        self._ready = self._started = True

    async def _ensure_all(self) -> None:
        for history_class, options in self._classes.items():
            await self._reach(self._ensure_class(history_class, options))

    async def _ensure_class(self, history_class: str, options: ChannelOptions) -> None:
        count = self._wanted_partitions
        first = await self._ensure_partition(history_class, options, 0, count)
        kept = int((first.config.metadata or {}).get(PARTITIONS_KEY, count))
        if kept != count:
            log.warning(
                "namespace %s: its streams were made with %d partitions, which are kept; channel.history_partitions "
                "says %d and holds for new namespaces only",
                history_class,
                kept,
                count,
            )
        self._partitions[history_class] = kept
        await asyncio.gather(*(self._ensure_partition(history_class, options, p, kept) for p in range(1, kept)))

    async def _ensure_partition(
        self, history_class: str, options: ChannelOptions, partition: int, count: int
    ) -> StreamState:
        name = subjects.log_stream(history_class, partition)
        stored, live = subjects.log_subjects(history_class, partition)
        state = await ensure_stream(
            self._link,
            StreamConfig(
                name=name,
                subjects=[stored],
                retention=RetentionPolicy.LIMITS,
                storage=StorageType.FILE,
                max_msgs_per_subject=options.history_size,
                max_age=float(options.history_ttl),
                duplicate_window=min(MAX_DUPLICATE_WINDOW_S, float(options.history_ttl)),
                republish=RePublish(src=stored, dest=live),
                allow_direct=True,
                metadata={PARTITIONS_KEY: str(count)},
            ),
        )
        self._note(name, state)
        return state

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
                await self._ensure_all()
                break
            except (BrokerAway, BrokerRefused) as error:
                log.warning("the streams are not there again, trying on: %s", error)
                await asyncio.sleep(_RETURN_RETRY_S)
        self._ready = True
        self._events.broker_found()

    # --- channels ---------------------------------------------------------------------------------------------------

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

            self._open[address] = self._link.listen(self._log_address(address).live, handler)
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
        self, address: ChannelAddress, publication: Publication, message_id: str = ""
    ) -> StreamPosition | None:
        if not self.available:
            raise BrokerAway("NATS is away")
        if not address.history_class:
            try:
                self._link.publish_now(
                    subjects.ephemeral(address.channel), bytes(publication.data), encode_headers(publication)
                )
            except NatsAway as error:
                raise BrokerAway(str(error)) from None
            except NatsRefused as error:
                raise BrokerRefused(str(error)) from None
            return None
        headers = encode_headers(publication, message_id or f"{self._instance}.{next(self._ids)}")
        try:
            async with asyncio.timeout(PUBLISH_DEADLINE_S), self._in_flight:
                return await self._store(address, bytes(publication.data), headers)
        except TimeoutError:
            raise BrokerAway("not acknowledged in time") from None

    async def _store(self, address: ChannelAddress, data: bytes, headers: bytes | None) -> StreamPosition:
        """Until the acknowledgement or the caller's deadline: the message id makes every further attempt harmless."""
        where = self._log_address(address)
        while True:
            try:
                sequence = await store(self._link, where.stored, data, headers, PUBLISH_DEADLINE_S)
            except NatsAway:
                await asyncio.sleep(_RETRY_WAIT_S)
                continue
            except NatsRefused as error:
                raise BrokerRefused(str(error)) from None
            self._last_seen[where.stream] = max(self._last_seen.get(where.stream, 0), sequence)
            return StreamPosition(sequence, self._epochs[where.stream])

    # --- the log ----------------------------------------------------------------------------------------------------

    async def read(self, address: ChannelAddress, from_offset: int, limit: int) -> Stretch:
        where = self._log_address(address)
        messages, more = await self._reach(read_stream(self._link, where.stream, from_offset, limit, where.stored))
        return Stretch([_entry(message) for message in messages], more)

    async def newest(self, address: ChannelAddress) -> Entry | None:
        where = self._log_address(address)
        message = await self._reach(read_last(self._link, where.stream, where.stored))
        return None if message is None else _entry(message)

    async def state(self, address: ChannelAddress) -> LogState:
        return await self._reach(self._fresh_state(self._log_address(address).stream))

    def epoch(self, address: ChannelAddress) -> str:
        return self._epochs[self._log_address(address).stream]

    async def behind(self, positions: dict[ChannelAddress, int]) -> list[ChannelAddress]:
        by_stream: defaultdict[str, dict[str, ChannelAddress]] = defaultdict(dict)
        for address in positions:
            where = self._log_address(address)
            by_stream[where.stream][where.stored] = address
        found: list[ChannelAddress] = []
        for stream, channels in by_stream.items():
            before = self._epochs[stream]
            state = await self._reach(self._fresh_state(stream))
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

    async def _fresh_state(self, stream: str) -> LogState:
        # Read before the question: what is acknowledged while the answer travels is no sign that the stream fell.
        epoch, seen = self._epochs.get(stream), self._last_seen.get(stream, 0)
        state = await stream_state(self._link, stream)
        if state is None:  # somebody deleted it: made anew, it is another log
            await self._ensure_missing(stream)
            state = await stream_state(self._link, stream)
            if state is None:
                raise NatsAway(f"stream {stream} cannot be made")
        if state.epoch == epoch and state.last < seen:
            log.error("stream %s fell from %d to %d: a new epoch begins", stream, seen, state.last)
            state = await renew_epoch(self._link, stream)
        self._note(stream, state)
        return LogState(state.epoch, state.first, state.last)

    async def _ensure_missing(self, stream: str) -> None:
        for history_class, options in self._classes.items():
            for partition in range(self._partitions[history_class]):
                if subjects.log_stream(history_class, partition) == stream:
                    await self._ensure_partition(history_class, options, partition, self._partitions[history_class])

    def _note(self, stream: str, state: StreamState) -> None:
        if self._epochs.get(stream) != state.epoch:
            self._epochs[stream] = state.epoch
            self._last_seen[stream] = state.last
        else:
            self._last_seen[stream] = max(self._last_seen.get(stream, 0), state.last)

    def _log_address(self, address: ChannelAddress) -> subjects.LogAddress:
        return subjects.log_address(address.history_class, self._partitions[address.history_class], address.channel)

    async def _reach(self, call: Coroutine[Any, Any, T]) -> T:
        try:
            return await call
        except NatsAway as error:
            raise BrokerAway(str(error)) from None
        except NatsRefused as error:
            raise BrokerRefused(str(error)) from None


def _entry(message: StoredMessage) -> Entry:
    try:
        return Entry(message.sequence, decode_publication(message.headers, message.data, message.sequence))
    except BadPublication:
        return Entry(message.sequence, None)
