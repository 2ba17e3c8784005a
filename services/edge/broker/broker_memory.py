"""The broker in memory: for unit tests and for trying things without NATS. Held to the same contract as the real one.

A `MemoryCluster` is what several edges share; each edge has a `MemoryBroker` on it. Nothing survives the process.
"""

from __future__ import annotations

import asyncio
import bisect
from collections import OrderedDict, defaultdict
from collections.abc import Callable

from msgspec.structs import replace

from proto.messages import Publication, StreamPosition
from proto.publications import LiveMessage, Version
from services.edge.broker.broker import BrokerAway, BrokerEvents, ChannelAddress, LogEntry, LogPage, LogState
from services.edge.settings import ChannelOptions


class _Log:
    """The log of one history class: what JetStream calls a stream. Its entries are evicted when it is reached."""

    def __init__(self, options: ChannelOptions, epoch: str) -> None:
        self.options = options
        self.epoch = epoch
        self.last = 0
        self.known_ids: dict[str, int] = {}
        self.versions: dict[int, Version] = {}
        self._stored: OrderedDict[int, tuple[str, float]] = OrderedDict()  # sequence: channel, stored at; oldest first
        self._channels: defaultdict[str, list[LogEntry]] = defaultdict(list)  # oldest first

    def of(self, channel: str) -> list[LogEntry]:
        """The entries of a channel, oldest first."""
        return self._channels.get(channel, [])

    def newest(self, channel: str) -> int:
        """The sequence of the channel's newest entry, 0 if it has none."""
        mine = self.of(channel)
        return mine[-1].sequence if mine else 0

    @property
    def first(self) -> int:
        """The sequence of the oldest entry of all channels, or of the next one where there is none."""
        return next(iter(self._stored), self.last + 1)

    def append(self, channel: str, entry: LogEntry, now: float) -> None:
        mine = self._channels[channel]
        mine.append(entry)
        self.last = entry.sequence
        self._stored[entry.sequence] = channel, now
        self._drop(channel, len(mine) - self.options.history_size)

    def evict(self, now: float) -> None:
        """Drops what is too old: one time to live holds for the whole class, so these are the oldest."""
        old = now - self.options.history_ttl
        while self._stored and (item := next(iter(self._stored.values())))[1] <= old:
            self._drop(item[0], 1)

    def remove(self, channel: str, upto: int) -> None:
        mine = self.of(channel)
        self._drop(channel, bisect.bisect_right([entry.sequence for entry in mine], upto))

    def _drop(self, channel: str, count: int) -> None:
        mine = self._channels[channel]
        for entry in mine[: max(count, 0)]:
            del self._stored[entry.sequence]
        del mine[: max(count, 0)]
        if not mine:
            del self._channels[channel]


class MemoryCluster:
    """What the edges of one cluster share. `now` is any clock in seconds, for the age of publications."""

    def __init__(self, classes: dict[str, ChannelOptions], now: Callable[[], float] = lambda: 0.0) -> None:
        self._now = now
        self._classes = classes
        self._generation = 0
        self.logs: dict[str, _Log] = {}
        self.brokers: list[MemoryBroker] = []
        self._ephemeral_ids: set[str] = set()
        for history_class in classes:
            self.make_anew(history_class)

    def make_anew(self, history_class: str) -> None:
        """Loses the log of a class: an empty one with another epoch takes its place."""
        self._generation += 1
        self.logs[history_class] = _Log(self._classes[history_class], f"epoch{self._generation}")

    def log(self, history_class: str) -> _Log:
        log = self.logs[history_class]
        log.evict(self._now())
        return log

    def store(
        self, address: ChannelAddress, publication: Publication, message_id: str, version: Version | None
    ) -> StreamPosition:
        log = self.log(address.history_class)
        if message_id and message_id in log.known_ids:
            return StreamPosition(log.known_ids[message_id], log.epoch)
        mine = log.of(address.channel)
        if version is not None and mine and not version.is_newer_than(log.versions.get(mine[-1].sequence)):
            return StreamPosition(mine[-1].sequence, log.epoch)
        number = log.last + 1
        if message_id:
            log.known_ids[message_id] = number
        if version is not None:
            log.versions[number] = version
        self._append(log, address, LogEntry(number, replace(publication, offset=number)))
        return StreamPosition(number, log.epoch)

    def remove(self, address: ChannelAddress) -> None:
        log = self.log(address.history_class)
        if upto := log.newest(address.channel):
            self._append(log, address, LogEntry(log.last + 1, None, upto))
            log.remove(address.channel, upto)

    def _append(self, log: _Log, address: ChannelAddress, entry: LogEntry) -> None:
        previous = log.newest(address.channel)
        log.append(address.channel, entry, self._now())
        for broker in self.brokers:
            broker.receive_live(address, LiveMessage(entry.sequence, previous, entry.publication, entry.removed_upto))

    def is_new(self, message_id: str) -> bool:
        """Whether a channel without history has not seen this id yet."""
        known = message_id in self._ephemeral_ids
        self._ephemeral_ids.add(message_id)
        return not known


class MemoryBroker:
    """One edge's broker. `lose_live` lets a test drop live messages; `go_away` and `come_back` cut its connection."""

    def __init__(self, cluster: MemoryCluster) -> None:
        self._cluster = cluster
        self._open: set[ChannelAddress] = set()
        self._epochs: dict[str, str] = {name: log.epoch for name, log in cluster.logs.items()}
        self._events: BrokerEvents | None = None
        self.available = False
        self.lose_live: Callable[[LiveMessage], bool] = lambda message: False
        cluster.brokers.append(self)

    async def start(self, events: BrokerEvents) -> None:
        """From now on `events` is told."""
        self._events = events
        self.available = True

    def go_away(self) -> None:
        self.available = False
        if self._events is not None:
            self._events.broker_disconnected()

    def come_back(self) -> None:
        self.available = True
        if self._events is not None:
            self._events.broker_connected()

    async def open(self, address: ChannelAddress) -> None:
        self._reach()
        self._open.add(address)

    def close(self, address: ChannelAddress) -> None:
        self._open.discard(address)

    def receive_live(self, address: ChannelAddress, message: LiveMessage) -> None:
        """The cluster's word that something was stored."""
        if self.available and address in self._open and not self.lose_live(message):
            asyncio.get_running_loop().call_soon(self._tell_live, address, message)

    def _tell_live(self, address: ChannelAddress, message: LiveMessage) -> None:
        if self._events is not None and address in self._open:
            self._events.live(address.channel, message)

    def _tell_ephemeral(self, address: ChannelAddress, publication: Publication) -> None:
        if self._events is not None and address in self._open and self.available:
            self._events.ephemeral(address.channel, publication)

    async def publish(
        self, address: ChannelAddress, publication: Publication, message_id: str = "", version: Version | None = None
    ) -> StreamPosition | None:
        self._reach()
        if address.history_class:
            return self._cluster.store(address, publication, message_id, version)
        if not message_id or self._cluster.is_new(message_id):
            for broker in self._cluster.brokers:
                asyncio.get_running_loop().call_soon(broker._tell_ephemeral, address, publication)
        return None

    async def publish_past_log(self, address: ChannelAddress, publication: Publication, message_id: str = "") -> None:
        self._reach()
        if not message_id or self._cluster.is_new(message_id):
            for broker in self._cluster.brokers:
                broker.receive_live(address, LiveMessage(0, 0, publication))

    async def remove_history(self, address: ChannelAddress) -> None:
        await self._travel()
        self._cluster.remove(address)

    async def read(self, address: ChannelAddress, from_offset: int, limit: int) -> LogPage:
        await self._travel()
        mine = self._cluster.log(address.history_class).of(address.channel)
        start = bisect.bisect_left([entry.sequence for entry in mine], from_offset)
        return LogPage(mine[start : start + limit], more=start + limit < len(mine))

    async def newest(self, address: ChannelAddress) -> LogEntry | None:
        await self._travel()
        log = self._cluster.log(address.history_class)
        self._epochs[address.history_class] = log.epoch
        mine = log.of(address.channel)
        return mine[-1] if mine else None

    async def state(self, address: ChannelAddress) -> LogState:
        await self._travel()
        log = self._cluster.log(address.history_class)
        self._epochs[address.history_class] = log.epoch
        return LogState(log.epoch, log.first, log.last)

    def epoch(self, address: ChannelAddress) -> str:
        return self._epochs[address.history_class]

    async def behind(self, positions: dict[ChannelAddress, int]) -> dict[ChannelAddress, int]:
        await self._travel()
        by_class: defaultdict[str, list[ChannelAddress]] = defaultdict(list)
        for address in positions:
            by_class[address.history_class].append(address)
        found: dict[ChannelAddress, int] = {}
        for history_class, addresses in by_class.items():
            log = self._cluster.log(history_class)
            if log.epoch != self._epochs[history_class]:
                self._epochs[history_class] = log.epoch
                found.update(dict.fromkeys(addresses, 0))
                continue
            newest = {address: log.newest(address.channel) for address in addresses}
            found.update({address: last for address, last in newest.items() if last > positions[address]})
        return found

    async def _travel(self) -> None:
        """A call to the cluster takes at least a turn of the loop, as it does over a network."""
        self._reach()
        await asyncio.sleep(0)
        self._reach()

    def _reach(self) -> None:
        if not self.available:
            raise BrokerAway("the broker is away")
