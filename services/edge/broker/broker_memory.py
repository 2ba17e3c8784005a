"""The broker in memory: for unit tests and for trying things without NATS. Held to the same contract as the real one.

A `MemoryCluster` is what several edges share; each edge has a `MemoryBroker` on it. Nothing survives the process.
"""

from __future__ import annotations

import asyncio
import bisect
from collections import defaultdict
from collections.abc import Callable

from msgspec.structs import replace

from proto.messages import Publication, StreamPosition
from proto.publications import LiveMessage, Version
from services.edge.broker.broker import BrokerAway, BrokerEvents, ChannelAddress, Entry, LogState, Stretch
from services.edge.settings import ChannelOptions


class _Log:
    """The log of one history class: what JetStream calls a stream."""

    def __init__(self, options: ChannelOptions, epoch: str) -> None:
        self.options = options
        self.epoch = epoch
        self.last = 0
        self.entries: list[tuple[str, float, Entry]] = []  # channel, stored at, what
        self.known_ids: dict[str, int] = {}
        self.versions: dict[int, Version] = {}

    def of(self, channel: str) -> list[Entry]:
        return [entry for name, _, entry in self.entries if name == channel]

    def evict(self, channel: str, now: float) -> None:
        old = now - self.options.history_ttl
        mine = [entry.sequence for entry in self.of(channel)]
        too_many = set(mine[: max(0, len(mine) - self.options.history_size)])
        self.entries = [item for item in self.entries if item[1] > old and item[2].sequence not in too_many]


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
        for channel in {name for name, _, _ in log.entries}:
            log.evict(channel, self._now())
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
        self._append(log, address, Entry(number, replace(publication, offset=number)))
        return StreamPosition(number, log.epoch)

    def remove(self, address: ChannelAddress) -> None:
        log = self.log(address.history_class)
        upto = max((entry.sequence for entry in log.of(address.channel)), default=0)
        if upto:
            self._append(log, address, Entry(log.last + 1, None, upto))
            log.entries = [item for item in log.entries if item[0] != address.channel or item[2].sequence > upto]

    def _append(self, log: _Log, address: ChannelAddress, entry: Entry) -> None:
        mine = log.of(address.channel)
        log.last = entry.sequence
        log.entries.append((address.channel, self._now(), entry))
        log.evict(address.channel, self._now())
        previous = mine[-1].sequence if mine else 0
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

    async def read(self, address: ChannelAddress, from_offset: int, limit: int) -> Stretch:
        await self._travel()
        mine = self._cluster.log(address.history_class).of(address.channel)
        start = bisect.bisect_left([entry.sequence for entry in mine], from_offset)
        return Stretch(mine[start : start + limit], more=start + limit < len(mine))

    async def newest(self, address: ChannelAddress) -> Entry | None:
        await self._travel()
        log = self._cluster.log(address.history_class)
        self._epochs[address.history_class] = log.epoch
        mine = log.of(address.channel)
        return mine[-1] if mine else None

    async def state(self, address: ChannelAddress) -> LogState:
        await self._travel()
        log = self._cluster.log(address.history_class)
        self._epochs[address.history_class] = log.epoch
        return LogState(log.epoch, log.entries[0][2].sequence if log.entries else log.last + 1, log.last)

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
            newest = {name: entry.sequence for name, _, entry in log.entries}
            found.update({a: newest[a.channel] for a in addresses if newest.get(a.channel, 0) > positions[a]})
        return found

    async def _travel(self) -> None:
        """A call to the cluster takes at least a turn of the loop, as it does over a network."""
        self._reach()
        await asyncio.sleep(0)
        self._reach()

    def _reach(self) -> None:
        if not self.available:
            raise BrokerAway("the broker is away")
