"""The adapters in memory, which a test can break: a broker, joins and leaves, and peers that fall silent or go away."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable

from proto.control import ControlAnswer, ControlRequest
from proto.members import MemberEvent
from proto.publications import LiveMessage
from proto.telemetry import Heartbeat, Process, encode_heartbeat
from services.edge.broker.broker import Audit, ChannelAddress, LogPage
from services.edge.broker.broker_memory import MemoryBroker
from services.edge.broker.logs_memory import MemoryLog, MemoryLogs
from services.edge.channel_settings import ChannelOptions
from services.edge.cluster.cluster import Cluster
from services.edge.cluster.join_leave_memory import MemoryJoinLeave
from services.edge.cluster.peers import ASK_TIMEOUT_S, PeerGone, PeersAway, Responder
from services.edge.cluster.peers_memory import MemoryPeers

_NO_FIGURES = Process(cpu_s=0, rss_bytes=0, open_fds=0, max_fds=0, loop_lag_s=0, uptime_s=0)


class BreakableLogs(MemoryLogs):
    """Epochs are "epoch1", "epoch2", ... in the order in which the logs are made."""

    def __init__(self, classes: dict[str, ChannelOptions], now: Callable[[], float] = lambda: 1000.0) -> None:
        numbers = itertools.count(1)
        self._new_epoch = lambda: f"epoch{next(numbers)}"
        super().__init__(classes, now, self._new_epoch)

    def make_anew(self, history_class: str) -> None:
        """Loses the log of a class: an empty one with another epoch takes its place."""
        self.logs[history_class] = MemoryLog(self.logs[history_class].options, self._new_epoch())


class BreakableBroker(MemoryBroker):
    """`lose_live` drops live messages; `go_away` and `come_back` cut the edge's connection.

    `silent` are the history classes whose logs do not answer an audit. `reads` counts the reads of the log, `reading`
    those in progress, of which there have been `most_reading` at once.
    """

    def __init__(self, logs: MemoryLogs) -> None:
        super().__init__(logs)
        self.lose_live: Callable[[LiveMessage], bool] = lambda message: False
        self.reads = 0
        self.reading = self.most_reading = 0
        self.unheard = False  # the connection dropped, and no audit has followed
        self.silent: set[str] = set()

    def receive_live(self, address: ChannelAddress, message: LiveMessage) -> None:
        if self.available and not self.lose_live(message):
            super().receive_live(address, message)

    async def read(self, address: ChannelAddress, from_offset: int, limit: int) -> LogPage:
        self.reads += 1
        self.reading += 1
        self.most_reading = max(self.most_reading, self.reading)
        try:
            return await super().read(address, from_offset, limit)
        finally:
            self.reading -= 1

    async def audit(self, positions: dict[ChannelAddress, int]) -> Audit:
        unknown = frozenset(address for address in positions if address.history_class in self.silent)
        asked = {address: offset for address, offset in positions.items() if address not in unknown}
        found = (await super().audit(asked)).behind
        if self.unheard:
            for address, offset in asked.items():
                log = self._logs.log(address.history_class)
                if address not in found and offset + 1 < log.first:
                    found[address] = log.last
        self.unheard = bool(unknown)
        return Audit(found, unknown, "it is silent" if unknown else "")

    def go_away(self) -> None:
        self.unheard = True
        self.available = False
        if self._events is not None:
            self._events.broker_disconnected()

    def come_back(self) -> None:
        self.available = True
        if self._events is not None:
            self._events.broker_connected()


class BreakableJoinLeave(MemoryJoinLeave):
    """`away` cuts this edge off from the others."""

    def __init__(self, all_edges: list[MemoryJoinLeave]) -> None:
        super().__init__(all_edges)
        self.away = False

    def publish(self, channel: str, event: MemberEvent) -> None:
        for each in self._all_edges:
            if each is self or not (self.away or (isinstance(each, BreakableJoinLeave) and each.away)):
                each.receive(channel, event)


class PeersCluster:
    """The shared part of the peers of one cluster, and the failures of its edges."""

    def __init__(self) -> None:
        self.all_edges: dict[str, MemoryPeers] = {}
        self.edges: dict[str, BreakablePeers] = {}

    def kill(self, instance: str) -> None:
        """Ends an edge at once; the others find out in the next turn of the loop."""
        asyncio.get_running_loop().call_soon(self.lose, instance)
        del self.all_edges[instance], self.edges[instance]

    def hang(self, instance: str) -> None:
        """From now on the edge is silent."""
        self.edges[instance].hangs = True

    def lose(self, instance: str) -> None:
        """Its heartbeats have been missing for too long: the others give up waiting for it."""
        for other in self.edges.values():
            other.cluster.declare_lost(instance)

    def wake(self, instance: str) -> None:
        """The edge no longer hangs, and sends a heartbeat."""
        self.edges[instance].hangs = False
        self.beat(instance)

    def beat(self, instance: str) -> None:
        """All edges receive a heartbeat from it."""
        beat = encode_heartbeat(
            Heartbeat(service="edge", name=instance, instance=instance, version="", at=0, process=_NO_FIGURES)
        )
        for other in self.edges.values():
            other.cluster.heard(beat)


class BreakablePeers(MemoryPeers):
    """One edge's peers. `away` cuts it off from the others, `hangs` makes it silent."""

    def __init__(self, shared: PeersCluster, cluster: Cluster) -> None:
        super().__init__(shared.all_edges, cluster)
        self._shared = shared
        self._lost: dict[str, asyncio.Event] = {}
        self.away = False
        self.hangs = False
        cluster.listen(self)

    async def start(self, responder: Responder) -> None:
        """Answers from now on; all edges know each other when it returns."""
        await super().start(responder)
        self._shared.edges[self.instance] = self
        for instance in self._shared.edges:
            self._shared.beat(instance)

    def edge_found(self, instance: str) -> None:
        self._lost[instance] = asyncio.Event()

    def edge_returned(self, instance: str) -> None:
        pass

    def edge_lost(self, instance: str) -> None:
        self._lost.pop(instance).set()

    async def ask(self, instance: str, request: ControlRequest, timeout_s: float = ASK_TIMEOUT_S) -> ControlAnswer:
        if instance != self.instance:
            if self.away:
                raise PeersAway("away")
            await asyncio.sleep(0)
            other = self._shared.edges.get(instance)
            if other is not None and other.hangs:
                await self._wait_until_lost(instance, timeout_s)
        return await super().ask(instance, request, timeout_s)

    async def _wait_until_lost(self, instance: str, timeout_s: float) -> None:
        try:
            async with asyncio.timeout(timeout_s):
                await self._lost.get(instance, asyncio.Event()).wait()
        except TimeoutError:
            raise PeersAway(f"edge {instance} is silent") from None
        raise PeerGone("the edge was lost while it was asked")

    async def ask_all(self, request: ControlRequest, timeout_s: float = ASK_TIMEOUT_S) -> list[ControlAnswer]:
        if self.away:
            raise PeersAway("away")
        return await super().ask_all(request, timeout_s)
