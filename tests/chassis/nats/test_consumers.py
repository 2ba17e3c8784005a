"""How far the durable consumers of a stream have read it, on a real server."""

from __future__ import annotations

import json
from typing import Any

import pytest
from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

from services.chassis.nats.consumers import Consumer, durable_consumers
from services.chassis.nats.link import NatsLink, NatsRefused
from services.chassis.nats.streams import store
from tests.support.links import linked
from tests.support.servers import NatsServer

pytestmark = pytest.mark.integration


async def _begun(link: NatsLink, nats: Client) -> JetStreamContext:
    log = nats.jetstream()
    await log.add_stream(name="LOG", subjects=["log.>"])
    for subject in ("log.a", "log.b", "log.a"):
        await store(link, subject, b"", None)
    return log


async def _read(log: JetStreamContext, name: str, count: int, ack: bool = True) -> None:
    mine = await log.pull_subscribe_bind(name, "LOG")
    for message in await mine.fetch(count):
        if ack:
            await message.ack_sync()
    await mine.unsubscribe()


@pytest.fixture
async def nats(nats_server: NatsServer) -> Any:
    client = Client()
    await client.connect(nats_server.url)
    yield client
    await client.close()


async def test_a_durable_consumer_has_read_what_it_has_acknowledged(nats_server: NatsServer, nats: Client) -> None:
    async with linked(nats_server.url) as link:
        log = await _begun(link, nats)
        for name in ("behind", "in_hand", "read"):
            await log.add_consumer("LOG", ConsumerConfig(durable_name=name, ack_policy=AckPolicy.EXPLICIT))
        await log.add_consumer("LOG", ConsumerConfig(name="for_now", inactive_threshold=60))
        await _read(log, "behind", 1)
        await _read(log, "in_hand", 3, ack=False)
        await _read(log, "read", 3)
        found = await durable_consumers(link, "LOG")
        assert [(each.name, each.acknowledged) for each in found] == [("behind", 1), ("in_hand", 0), ("read", 3)]
        assert [each.name for each in found if each.has_read(1)] == ["behind", "read"]
        assert [each.name for each in found if each.has_read(2)] == ["read"]


async def test_one_that_is_for_other_messages_is_not_behind(nats_server: NatsServer, nats: Client) -> None:
    async with linked(nats_server.url) as link:
        log = await _begun(link, nats)
        others = ConsumerConfig(durable_name="others", filter_subject="log.b", ack_policy=AckPolicy.EXPLICIT)
        await log.add_consumer("LOG", others)
        late = ConsumerConfig(durable_name="late", deliver_policy=DeliverPolicy.NEW, ack_policy=AckPolicy.EXPLICIT)
        await log.add_consumer("LOG", late)
        assert [each.name for each in await durable_consumers(link, "LOG") if not each.has_read(3)] == ["others"]
        await _read(log, "others", 1)
        assert all(each.has_read(3) for each in await durable_consumers(link, "LOG"))


async def test_all_are_listed_however_many_there_are(nats_server: NatsServer, nats: Client) -> None:
    async with linked(nats_server.url) as link:
        log = await _begun(link, nats)
        for number in range(300):  # the server lists 256 at a time
            await log.add_consumer("LOG", ConsumerConfig(durable_name=f"c{number:03}", ack_policy=AckPolicy.EXPLICIT))
        assert len({each.name for each in await durable_consumers(link, "LOG")}) == 300
        with pytest.raises(NatsRefused, match="stream not found"):
            await durable_consumers(link, "NONE")


class Answering:
    """A link to a cluster that gives this answer."""

    def __init__(self, **answer: object) -> None:
        self._answer = json.dumps(answer).encode()

    async def request(self, *arguments: object, **more: object) -> tuple[None, bytes]:
        return None, self._answer


async def test_one_whose_servers_are_away_counts_as_behind() -> None:
    """As nats-server lists it: by name among those that are missing, and once more without a name."""
    down = {"config": {"durable_name": "down"}, "num_pending": 0}
    there = {"name": "there", "config": {"durable_name": "there"}, "ack_floor": {"stream_seq": 7}}
    link: Any = Answering(total=2, consumers=[down, there], missing=["down"])
    assert await durable_consumers(link, "LOG") == [Consumer("there", 7, 0), Consumer("down", 0, 1)]
