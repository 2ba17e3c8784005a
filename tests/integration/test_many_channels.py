"""Three thousand open channels on one edge, on a NATS that is killed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from services.chassis.nats.link import NatsLink
from services.chassis.nats.settings import NatsSettings
from services.edge.broker.broker import BrokerAway
from services.edge.broker.broker_nats import NatsBroker
from services.edge.channels.node import Node
from services.edge.cluster.cluster import Cluster
from services.edge.cluster.join_leave_memory import MemoryJoinLeave
from services.edge.cluster.peers_memory import MemoryPeers
from services.edge.tally import Tally
from tests.contract.broker import publication
from tests.support.cluster import FakeSubscriber, attach_request
from tests.support.eventually import eventually
from tests.support.namespaces import NAMESPACES, rules_of

pytestmark = pytest.mark.integration

CHANNELS = [f"news:{number}" for number in range(3_000)]
PARTITIONS = 2  # each of the streams has more of them than NATS takes in one question (1,024)
AT_ONCE = 100


@asynccontextmanager
async def node_on(url: str, name: str) -> AsyncIterator[tuple[Node, NatsBroker, Tally]]:
    """The channels of an edge on a real NATS, all else in memory."""
    tally = Tally()
    link = NatsLink(NatsSettings(url=url), name, lambda: broker.on_link(True), lambda: broker.on_link(False))
    broker = NatsBroker(link, NAMESPACES.history_classes(), PARTITIONS, name, AT_ONCE)
    cluster = Cluster(lambda: 0.0, name)
    node = Node(broker, MemoryJoinLeave([]), MemoryPeers({}, cluster), cluster, tally)
    await link.open()
    await broker.start(node.sync)
    try:
        yield node, broker, tally
    finally:
        broker.stop()
        await node.sync.stop()
        await link.close()


async def for_all(work: Callable[[str], Awaitable[object]]) -> None:
    left = iter(CHANNELS)

    async def worker() -> None:
        for channel in left:
            await work(channel)

    await asyncio.gather(*(worker() for _ in range(AT_ONCE)))


async def test_all_of_three_thousand_channels_get_everything_once_when_nats_is_killed(nats_server):
    subscribers = {channel: FakeSubscriber() for channel in CHANNELS}
    async with (
        node_on(nats_server.url, "a") as (node, broker, tally),
        node_on(nats_server.url, "b") as (other, elsewhere, _),
    ):
        await for_all(lambda channel: node.subscribe(subscribers[channel], attach_request(channel)))

        async def publish(channel: str) -> None:
            await other.publish(channel, rules_of(channel), publication(1))

        async def publish_again(channel: str) -> None:
            while True:
                try:
                    await other.publish(channel, rules_of(channel), publication(2), message_id=f"2 {channel}")
                    return
                except BrokerAway:  # NATS is killed while this goes on
                    await eventually(lambda: elsewhere.available)

        await for_all(publish)
        again = asyncio.create_task(for_all(publish_again))
        await eventually(lambda: any(len(each.pushes) == 2 for each in subscribers.values()))
        nats_server.kill9()
        nats_server.start()
        await asyncio.wait_for(again, 60)
        await eventually(lambda: broker.available)
        await eventually(lambda: all(len(each.pushes) >= 2 for each in subscribers.values()), within_s=30)
        assert all(each.values == [1, 2] and not each.ended for each in subscribers.values())
        assert tally.broker_losses == 1 and len(node.channels) == len(CHANNELS)
