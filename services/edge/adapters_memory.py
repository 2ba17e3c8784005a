"""The adapters of an edge by itself (`edge.broker = "memory"`): no NATS, and nothing that is reached over it.

Other edges, sessions and backends on NATS do not exist; backends over HTTP do.
For a first try, and for the tests of applications. Publications are gone when the process ends.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from services.chassis.process.heartbeat import AddFigures, Pulse
from services.edge.adapters import Adapters
from services.edge.backend.no_backend import NoBackend
from services.edge.broker.broker_memory import MemoryBroker
from services.edge.broker.in_flight import InFlight
from services.edge.broker.logs_memory import MemoryLogs
from services.edge.channel_settings import ChannelOptions
from services.edge.channels.node import Node
from services.edge.cluster.cluster import Cluster
from services.edge.cluster.join_leave_memory import MemoryJoinLeave
from services.edge.cluster.peers import Responder
from services.edge.cluster.peers_memory import MemoryPeers
from services.edge.server_api.methods import ApiMethods
from services.edge.session_log import NoSessionLog
from services.edge.settings import EdgeSettings

log = logging.getLogger(__name__)


class NoApiCalls:
    """The server API is served over HTTP alone."""

    def start(self) -> None:
        return None

    async def leave(self, within_s: float) -> None:
        return None

    async def stop(self) -> None:
        return None


class _OwnHeartbeats:
    """Adds the edge's heartbeats to its own list of edges, which the server API reads (`info`)."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def publish(self, subject: str, data: bytes) -> None:
        self._cluster.heard(data)


class MemoryAdapters(Adapters):
    """The adapters of a single process. `classes` are the namespaces with history; `add_load` adds the edge's figures
    to heartbeats.
    """

    def __init__(
        self,
        settings: EdgeSettings,
        instance: str,
        classes: dict[str, ChannelOptions],
        now: Callable[[], float],
        add_load: AddFigures,
    ) -> None:
        self.nats = None
        self.link = None
        self.broker_clock = None
        self._node: Node | None = None
        self._logs = MemoryLogs(classes, now)
        self.broker = self._broker = MemoryBroker(self._logs)
        self.in_flight = InFlight(settings.edge.max_publishes_in_flight, 0)  # always 0: a publish does not wait
        self.session_log = NoSessionLog()
        self.backend = NoBackend()
        self.cluster = Cluster(now, instance)
        self.pulse = Pulse(_OwnHeartbeats(self.cluster), "edge", settings.name, instance, add_load)
        self.peers = self._peers = MemoryPeers({}, self.cluster)
        self.join_leave = self._join_leave = MemoryJoinLeave([])

    async def start(self, node: Node, responder: Responder) -> None:
        log.warning(
            'edge.broker = "memory": channels are kept in this process alone and are gone when it ends; there are no '
            "other edges, no backends on NATS and no sessions"
        )
        self._node = node
        self._join_leave.start(node.member_tracker)
        await self._peers.start(responder)
        await self._broker.start(node.sync)

    async def adopt(self, classes: dict[str, ChannelOptions]) -> None:
        if self._logs.adopt(classes) and self._node is not None:
            self._node.sync.logs_checked()

    async def watch(self) -> None:
        return None

    async def run(self) -> None:
        await self.pulse.run()

    def stop(self) -> None:
        return None

    async def close(self) -> None:
        return None

    def api_calls(self, methods: ApiMethods) -> NoApiCalls:
        return NoApiCalls()
