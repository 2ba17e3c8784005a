"""The broker in memory: for unit tests and for trying things without NATS. Held to the same contract as the real one.

A `MemoryCluster` is what several edges share; each edge has a `MemoryBroker` on it. Nothing survives the process.
"""

from __future__ import annotations

import asyncio
import bisect
from collections import defaultdict
from collections.abc import Callable

from proto.messages import Publication, StreamPosition
from proto.publications import LiveMessage
from services.edge.broker import BrokerAway, BrokerEvents, ChannelAddress, Entry, LogState, Stretch
from services.edge.settings import ChannelOptions


class _Log:
    """The log of one history class: what JetStream calls a stream."""

    def __init__(self, options: ChannelOptions, epoch: str) -> None:
        self.options = options
        self.epoch = epoch
        self.last = 0
        self.entries: list[tuple[int, str, float, Publication]] = []  # sequence, channel, stored at, publication
        self.known_ids: dict[str, int] = {}

    def of(self, channel: str) -> list[tuple[int, Publication]]:
        return [(seq, publication) for seq, name, _, publication in self.entries if name == channel]

    def evict(self, channel: str, now: float) -> None:
        old = now - self.options.history_ttl
        mine = [seq for seq, name, _, _ in self.entries if name == channel]
        too_many = set(mine[: max(0, len(mine) - self.options.history_size)])
        self.entries = [entry for entry in self.entries if entry[2] > old and entry[0] not in too_many]


class MemoryCluster:
    """What the edges of one cluster share. `now` is any clock in seconds, for the age of publications."""

    def __init__(self, classes: dict[str, ChannelOptions], now: Callable[[], float] = lambda: 0.0) -> None:
        self._now = now
        self._classes = classes
        self._generation = 0
        self.logs: dict[str, _Log] = {}
        self.brokers: list[MemoryBroker] = []
        for history_class in classes:
            self.make_anew(history_class)

    def make_anew(self, history_class: str) -> None:
        """Loses the log of a class: an empty one with another epoch takes its place."""
        self._generation += 1
        self.logs[history_class] = _Log(self._classes[history_class], f"epoch{self._generation}")

    def log(self, history_class: str) -> _Log:
        log = self.logs[history_class]
        for channel in {name for _, name, _, _ in log.entries}:
            log.evict(channel, self._now())
        return log

    def store(self, address: ChannelAddress, publication: Publication, message_id: str) -> StreamPosition:
        log = self.log(address.history_class)
        if message_id and message_id in log.known_ids:
            return StreamPosition(log.known_ids[message_id], log.epoch)
        mine = log.of(address.channel)
        previous = mine[-1][0] if mine else 0
        log.last += 1
        if message_id:
            log.known_ids[message_id] = log.last
        stored = Publication(publication.data, publication.info, log.last, publication.tags)
        log.entries.append((log.last, address.channel, self._now(), stored))
        log.evict(address.channel, self._now())
        for broker in self.brokers:
            broker.receive_live(address, LiveMessage(log.last, previous, stored))
        return StreamPosition(log.last, log.epoch)


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
            self._events.broker_lost()

    def come_back(self) -> None:
        self.available = True
        if self._events is not None:
            self._events.broker_found()

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
        self, address: ChannelAddress, publication: Publication, message_id: str = ""
    ) -> StreamPosition | None:
        self._reach()
        if address.history_class:
            return self._cluster.store(address, publication, message_id)
        for broker in self._cluster.brokers:
            asyncio.get_running_loop().call_soon(broker._tell_ephemeral, address, publication)
        return None

    async def read(self, address: ChannelAddress, from_offset: int, limit: int) -> Stretch:
        await self._travel()
        mine = self._cluster.log(address.history_class).of(address.channel)
        start = bisect.bisect_left([seq for seq, _ in mine], from_offset)
        page = [Entry(seq, publication) for seq, publication in mine[start : start + limit]]
        return Stretch(page, more=start + limit < len(mine))

    async def newest(self, address: ChannelAddress) -> Entry | None:
        await self._travel()
        log = self._cluster.log(address.history_class)
        self._epochs[address.history_class] = log.epoch
        mine = log.of(address.channel)
        return Entry(*mine[-1]) if mine else None

    async def state(self, address: ChannelAddress) -> LogState:
        await self._travel()
        log = self._cluster.log(address.history_class)
        self._epochs[address.history_class] = log.epoch
        return LogState(log.epoch, log.entries[0][0] if log.entries else log.last + 1, log.last)

    def epoch(self, address: ChannelAddress) -> str:
        return self._epochs[address.history_class]

    async def behind(self, positions: dict[ChannelAddress, int]) -> list[ChannelAddress]:
        await self._travel()
        by_class: defaultdict[str, list[ChannelAddress]] = defaultdict(list)
        for address in positions:
            by_class[address.history_class].append(address)
        found: list[ChannelAddress] = []
        for history_class, addresses in by_class.items():
            log = self._cluster.log(history_class)
            if log.epoch != self._epochs[history_class]:
                self._epochs[history_class] = log.epoch
                found.extend(addresses)
                continue
            newest = {name: seq for seq, name, _, _ in log.entries}
            found.extend(a for a in addresses if newest.get(a.channel, 0) > positions[a])
        return found

    async def _travel(self) -> None:
        """A call to the cluster takes at least a turn of the loop, as it does over a network."""
        self._reach()
        await asyncio.sleep(0)
        self._reach()

    def _reach(self) -> None:
        if not self.available:
            raise BrokerAway("the broker is away")
