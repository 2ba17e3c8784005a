from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from services.edge.cluster.cluster import Cluster
from tests.contract.peers import Edge, PeersContract
from tests.support.breakable import BreakablePeers, PeersCluster


class TestMemoryPeers(PeersContract):
    @asynccontextmanager
    async def cluster(self) -> AsyncIterator[tuple[Edge, Edge, Edge]]:
        self.shared = PeersCluster()
        self.all: dict[str, BreakablePeers] = {}
        edges: list[Edge] = []
        for instance in ("a", "b", "c"):
            cluster = Cluster(lambda: 0.0, instance)
            self.all[instance] = BreakablePeers(self.shared, cluster)
            edges.append(Edge(self.all[instance], cluster))
        for edge in edges:
            await self.all[edge.instance].start(edge.respond)
        a, b, c = edges
        yield a, b, c

    async def kill(self, edge: Edge) -> None:
        self.shared.kill(edge.instance)

    async def hang(self, edge: Edge) -> None:
        self.shared.hang(edge.instance)

    async def give_up(self, edge: Edge) -> None:
        self.shared.lose(edge.instance)

    async def wake(self, edge: Edge) -> None:
        self.shared.wake(edge.instance)

    async def cut_off(self, edge: Edge) -> None:
        self.all[edge.instance].away = True
