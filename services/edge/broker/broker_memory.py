"""The broker in the memory of one process: `edge.broker = "memory"`, an edge without NATS.

An edge that runs by itself has one broker on its `MemoryLogs`; unit tests have several. Held to the same contract as
the broker on NATS, except that nothing survives the process.
"""

from __future__ import annotations

import asyncio
import bisect
import itertools
from collections import defaultdict
from collections.abc import Awaitable, Callable
from typing import Final

from proto.messages import Publication, StreamPosition
from proto.publications import LiveMessage, Version, size_of
from proto.trace_context import TraceContext
from services.edge.broker.broker import (
    READ_BYTES,
    AllWell,
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
from services.edge.broker.logs_memory import MemoryLogs, bytes_of

MAX_PUBLICATION_BYTES: Final = 1024 * 1024
"""The default of NATS."""


class MemoryBroker:
    """One edge's broker (see `broker.Broker`)."""

    health = AllWell()

    def __init__(self, logs: MemoryLogs) -> None:
        self._logs = logs
        self.index = MemoryLogIndex(logs, self._travel)
        self._open: set[ChannelAddress] = set()
        self._epochs: dict[str, str] = {name: log.epoch for name, log in logs.logs.items()}
        self._events: BrokerEvents | None = None
        self.available = False
        logs.receivers.append(self)

    async def start(self, events: BrokerEvents) -> None:
        """From now on `events` gets the broker's events."""
        self._events = events
        self.available = True

    def now(self) -> float:
        return self._logs.now()

    async def open(self, address: ChannelAddress) -> None:
        self._check_available()
        self._open.add(address)

    def close(self, address: ChannelAddress) -> None:
        self._open.discard(address)

    def receive_live(self, address: ChannelAddress, message: LiveMessage) -> None:
        """A live message, from `MemoryLogs`. It arrives in a later turn of the loop, as over a network."""
        if self.available and address in self._open:
            asyncio.get_running_loop().call_soon(self._deliver_live, address, message)

    def receive_ephemeral(
        self, address: ChannelAddress, publication: Publication, published_at: float, trace: TraceContext | None
    ) -> None:
        """The same for a publication of a channel without history."""
        asyncio.get_running_loop().call_soon(self._deliver_ephemeral, address, publication, published_at, trace)

    def _deliver_live(self, address: ChannelAddress, message: LiveMessage) -> None:
        if self._events is not None and address in self._open:
            self._events.live(address.channel, message)

    def _deliver_ephemeral(
        self, address: ChannelAddress, publication: Publication, published_at: float, trace: TraceContext | None
    ) -> None:
        if self._events is not None and address in self._open and self.available:
            self._events.ephemeral(address.channel, publication, published_at, trace)

    async def publish(
        self,
        address: ChannelAddress,
        publication: Publication,
        message_id: str = "",
        version: Version | None = None,
        confirm: bool = False,
    ) -> StreamPosition | None:
        self._check_available()
        _check_size(publication)
        if address.history_class:
            return self._logs.store(address, publication, message_id, version)
        self._logs.send(address, publication, message_id)
        return None

    async def publish_past_log(
        self, address: ChannelAddress, publication: Publication, message_id: str = "", confirm: bool = False
    ) -> None:
        self._check_available()
        _check_size(publication)
        self._logs.send(address, publication, message_id)

    async def remove_history(self, address: ChannelAddress) -> None:
        await self._travel()
        self._logs.remove(address)

    async def read(self, address: ChannelAddress, from_offset: int, limit: int) -> LogPage:
        await self._travel()
        mine = self._logs.log(address.history_class).of(address.channel)
        start = bisect.bisect_left(mine, from_offset, key=lambda entry: entry.sequence)
        entries: list[LogEntry] = []
        room = READ_BYTES
        for entry in itertools.islice(mine, start, start + limit):
            if room <= 0:
                break
            entries.append(entry)
            room -= bytes_of(entry)
        return LogPage(entries, left=max(0, len(mine) - start - len(entries)))

    async def newest(self, address: ChannelAddress) -> LogEntry | None:
        await self._travel()
        log = self._logs.log(address.history_class)
        self._epochs[address.history_class] = log.epoch
        mine = log.of(address.channel)
        return mine[-1] if mine else None

    async def state(self, address: ChannelAddress) -> LogState:
        await self._travel()
        log = self._logs.log(address.history_class)
        self._epochs[address.history_class] = log.epoch
        return LogState(log.epoch, log.first, log.last, log.options.history_size)

    def epoch(self, address: ChannelAddress) -> str:
        return self._epochs[address.history_class]

    def continued(self, address: ChannelAddress, position: StreamPosition) -> StreamPosition:
        return position

    async def audit(self, positions: dict[ChannelAddress, int]) -> Audit:
        await self._travel()
        by_class: defaultdict[str, list[ChannelAddress]] = defaultdict(list)
        for address in positions:
            by_class[address.history_class].append(address)
        found: dict[ChannelAddress, int] = {}
        for history_class, addresses in by_class.items():
            log = self._logs.log(history_class)
            if log.epoch != self._epochs[history_class]:
                self._epochs[history_class] = log.epoch
                found.update(dict.fromkeys(addresses, 0))
                continue
            newest = {address: log.newest(address.channel) for address in addresses}
            found.update({address: last for address, last in newest.items() if last > positions[address]})
        return Audit(found)

    async def _travel(self) -> None:
        """A call to the logs takes at least a turn of the loop, as it does over a network."""
        self._check_available()
        await asyncio.sleep(0)
        self._check_available()

    def _check_available(self) -> None:
        if not self.available:
            raise BrokerAway("the broker is away")


class MemoryLogIndex:
    """The index of the logs, see `broker.LogIndex`. `travel` is called before each access."""

    kept = True

    def __init__(self, logs: MemoryLogs, travel: Callable[[], Awaitable[None]]) -> None:
        self._logs = logs
        self._travel = travel

    def retained(self, address: ChannelAddress) -> Retained:
        options = self._logs.logs[address.history_class].options
        return Retained(options.history_size, options.history_ttl)

    async def after(
        self, address: ChannelAddress, epoch: str, offset: int, upto: int, named_upto: int = 0, first: int = 0
    ) -> Indexed | None:
        await self._travel()
        log = self._logs.log(address.history_class)
        return log.index.after(address.channel, offset, log.last, named_upto) if log.epoch == epoch else None

    async def search(self, address: ChannelAddress, message_id: str, since: float) -> KeySearch:
        await self._travel()
        log = self._logs.log(address.history_class)
        entries = log.since(address.channel, since)
        found = [entry.sequence for entry in entries if log.ids.get(entry.sequence) == message_id]
        position = StreamPosition(found[0], log.epoch) if found else None
        return KeySearch(position, len(entries), any(entry.removed_upto for entry in entries), log.reaches_to(since))


def _check_size(publication: Publication) -> None:
    if size_of(publication) > MAX_PUBLICATION_BYTES:
        raise BrokerRefused(f"a publication of more than {MAX_PUBLICATION_BYTES} bytes", "too_large")
