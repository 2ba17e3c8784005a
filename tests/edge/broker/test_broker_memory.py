from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from services.edge.broker.broker import Broker
from services.edge.broker.broker_memory import MemoryBroker, MemoryCluster
from tests.contract.broker import CLASSES, BrokerContract, Listener


class TestMemoryBroker(BrokerContract):
    @asynccontextmanager
    async def cluster(self) -> AsyncIterator[tuple[Broker, Broker, Listener, Listener]]:
        shared = MemoryCluster(CLASSES)
        a, b, heard_a, heard_b = MemoryBroker(shared), MemoryBroker(shared), Listener(), Listener()
        await a.start(heard_a)
        await b.start(heard_b)
        yield a, b, heard_a, heard_b

    async def take_away(self, broker: Broker) -> None:
        assert isinstance(broker, MemoryBroker)
        broker.go_away()
