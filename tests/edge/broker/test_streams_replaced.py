"""Streams that are deleted, or made by somebody else, while NATS and the edges stay."""

from __future__ import annotations

from dataclasses import replace

import pytest
from nats.js.api import StreamConfig

from proto import subjects
from proto.publications import LiveMessage
from services.chassis.nats.streams import stream_state
from services.edge.broker.broker_nats import NatsBroker
from tests.contract.broker import NEWS, PLAIN, Listener, publication, store
from tests.edge.broker.test_broker_nats import PARTITIONS, broker
from tests.support.eventually import eventually
from tests.support.links import linked

pytestmark = pytest.mark.integration

WHERE = subjects.log_address(NEWS.history_class, PARTITIONS, NEWS.channel)


class CheckListener(Listener):
    """Keeps the order in which live messages came, and the word that logs were checked."""

    def __init__(self) -> None:
        super().__init__()
        self.order: list[str | int] = []

    def live(self, channel: str, message: LiveMessage) -> None:
        super().live(channel, message)
        self.order.append(message.sequence)

    def logs_checked(self) -> None:
        self.order.append("checked")

    @property
    def checks(self) -> int:
        return self.order.count("checked")


async def delete(url: str, stream: str) -> StreamConfig:
    async with linked(url) as link:
        config = (await link.stream_manager().stream_info(stream)).config
        await link.stream_manager().delete_stream(stream)
        return config


async def test_a_publish_makes_a_deleted_stream_again(nats_server):
    heard = CheckListener()
    async with broker(nats_server.url, heard) as a:
        before = await store(a, NEWS, 1)
        await delete(nats_server.url, WHERE.stream)
        after = await store(a, NEWS, 2)
        assert after.epoch != before.epoch and after.epoch == a.epoch(NEWS)
        assert heard.checks == 1, "its subscribers are sent to subscribe again now, not at the next audit"


async def test_a_read_makes_a_deleted_stream_again(nats_server):
    async with broker(nats_server.url, Listener()) as a:
        before = await store(a, NEWS, 1)
        await delete(nats_server.url, WHERE.stream)
        assert await a.newest(NEWS) is None
        assert a.epoch(NEWS) != before.epoch
        await delete(nats_server.url, WHERE.stream)
        assert (await a.read(NEWS, 0, 10)).entries == []


async def test_a_publish_with_a_key_makes_the_deleted_stream_of_keys_again(nats_server):
    async with broker(nats_server.url, heard := Listener()) as a:
        await a.open(PLAIN)
        await delete(nats_server.url, subjects.KEYS_STREAM)
        await a.publish(PLAIN, publication(1), "key")
        await eventually(lambda: len(heard.ephemerals) == 1)


async def test_a_deleted_stream_that_nobody_uses_is_made_again_soon(nats_server):
    async with broker(nats_server.url, heard := CheckListener()) as a:
        before = await store(a, NEWS, 1)
        await delete(nats_server.url, WHERE.stream)
        async with linked(nats_server.url) as link:

            async def made() -> bool:
                return await stream_state(link, WHERE.stream) is not None

            await eventually(made, within_s=8)  # an audit comes every 10 s, and here none
        await eventually(lambda: a.epoch(NEWS) != before.epoch and heard.checks > 0)


async def test_a_stream_made_by_somebody_else_gets_an_epoch_and_is_never_mixed_with_the_one_before(nats_server):
    async with broker(nats_server.url, heard := CheckListener()) as a, broker(nats_server.url, Listener()) as b:
        await a.open(NEWS)
        await a.newest(NEWS)
        offsets = [(before := await store(a, NEWS, i)).offset for i in range(2)]
        await eventually(lambda: heard.order == offsets)
        config = await delete(nats_server.url, WHERE.stream)
        async with linked(nats_server.url) as link:
            await link.stream_manager().add_stream(replace(config, metadata=None, first_seq=None))
            for i in range(5):  # further than the log before
                await link.request(WHERE.stored, str(i).encode())
        after = await store(a, NEWS, 9)
        assert after.epoch and after.epoch != before.epoch
        await eventually(lambda: heard.checks > 0)
        assert heard.order[:3] == [*offsets, "checked"], "what comes later is known to be of another log"
        assert await _epoch(b) == after.epoch


async def test_an_acknowledgement_of_a_stream_that_begins_anew_names_its_epoch(nats_server):
    async with broker(nats_server.url, heard := CheckListener()) as a:
        before = [await store(a, NEWS, i) for i in range(3)][-1]
        config = await delete(nats_server.url, WHERE.stream)
        bare = StreamConfig(config.name, subjects=config.subjects)
        async with linked(nats_server.url) as link:
            await link.stream_manager().add_stream(bare)
        first = await store(a, NEWS, 9)
        assert first.offset < before.offset and first.epoch not in (before.epoch, "")
        await a.open(NEWS)
        await a.newest(NEWS)
        second = await store(a, NEWS, 10)
        await eventually(lambda: heard.order[-1] == second.offset)


async def _epoch(broker: NatsBroker) -> str:
    return (await broker.state(NEWS)).epoch
