from __future__ import annotations

import asyncio
import functools
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from msgspec import structs
from nats.js.api import StreamConfig

from proto import subjects
from services.chassis.nats.link import NatsLink
from services.chassis.nats.settings import NatsSettings
from services.chassis.nats.stream_reads import read_last, read_stream
from services.chassis.nats.streams import stream_state
from services.chassis.process.settings import Duration
from services.edge.broker import broker_nats, log_streams_nats
from services.edge.broker.broker import READ_BYTES, Broker, BrokerAway, BrokerEvents, BrokerRefused, ChannelAddress
from services.edge.broker.broker_nats import LOOKS_AT_ONCE, READS_AT_ONCE, NatsBroker
from services.edge.channel_settings import ChannelOptions
from tests.contract.broker import CHAT, CLASSES, NEWS, BrokerContract, Listener, publication, store
from tests.support.eventually import eventually
from tests.support.links import linked
from tests.support.servers import NatsServer

pytestmark = pytest.mark.integration

PARTITIONS = 3


@asynccontextmanager
async def broker(
    url: str,
    events: BrokerEvents,
    classes: dict[str, ChannelOptions] = CLASSES,
    partitions: int = PARTITIONS,
) -> AsyncIterator[NatsBroker]:
    link = NatsLink(NatsSettings(url=url), "test", lambda: made.on_link(True), lambda: made.on_link(False))
    made = NatsBroker(link, classes, partitions, uuid.uuid4().hex, 64)
    await link.open()
    try:
        await made.start(events)
        yield made
    finally:
        made.stop()
        await link.close()


class TestNatsBroker(BrokerContract):
    @asynccontextmanager
    async def cluster(self) -> AsyncIterator[tuple[Broker, Broker, Listener, Listener]]:
        self.server: NatsServer = self.request.getfixturevalue("nats_server")
        heard_a, heard_b = Listener(), Listener()
        async with broker(self.server.url, heard_a) as a, broker(self.server.url, heard_b) as b:
            yield a, b, heard_a, heard_b

    async def take_away(self, broker: Broker) -> None:
        self.server.kill9()
        await eventually(lambda: not broker.available)


async def test_a_channel_is_not_called_open_before_the_server_knows_of_it(nats_server):
    async with broker(nats_server.url, Listener()) as a:
        nats_server.pause()
        opening = asyncio.create_task(a.open(ChannelAddress("live:x")))
        for _ in range(100):
            await asyncio.sleep(0)
        assert not opening.done(), "what is published now would be missed"
        nats_server.resume()
        await opening


async def test_without_history_what_was_confirmed_is_not_overtaken_by_another_edge(nats_server):
    live = ChannelAddress("live:x")
    async with broker(nats_server.url, heard := Listener()) as a, broker(nats_server.url, Listener()) as b:
        await a.open(live)
        for number in range(100):
            await (a, b)[number % 2].publish(live, publication(number), confirm=True)
        await eventually(lambda: len(heard.ephemerals) == 100)
        assert [int(bytes(each.data)) for _, each in heard.ephemerals] == list(range(100))


async def test_what_nats_has_not_read_yet_is_not_called_sent(nats_server):
    async with broker(nats_server.url, Listener()) as a:
        nats_server.pause()
        live = ChannelAddress("live:x")
        both = [
            asyncio.create_task(a.publish(live, publication(1), confirm=True)),
            asyncio.create_task(a.publish_past_log(CHAT, publication(1), confirm=True)),
        ]
        for _ in range(100):
            await asyncio.sleep(0)
        assert not any(each.done() for each in both), "a publish on another edge would overtake it"
        nats_server.resume()
        await asyncio.gather(*both)
        nats_server.pause()
        with pytest.raises(BrokerAway):
            lost = asyncio.create_task(a.publish(live, publication(1), confirm=True))
            await asyncio.sleep(0)
            nats_server.kill9()
            await lost


async def test_a_changed_limit_updates_the_streams_in_place(nats_server):
    async with broker(nats_server.url, Listener()) as a:
        offsets = [(await store(a, CHAT, i)).offset for i in range(5)]
        epoch = a.epoch(CHAT)
    larger = {**CLASSES, "chat": ChannelOptions(history_size=8, history_ttl=Duration(1800))}
    async with broker(nats_server.url, Listener(), larger) as a:
        assert a.epoch(CHAT) == epoch
        offsets += [(await store(a, CHAT, i)).offset for i in range(5)]
        assert [entry.sequence for entry in (await a.read(CHAT, 0, 100)).entries] == offsets[-8:]


async def test_a_namespace_has_replicas_of_its_own(nats_server):
    """One server refuses more than one, and says of which stream: `test_stream_making` has a cluster."""
    some = {"chat": CLASSES["chat"], "news": structs.replace(CLASSES["news"], replicas=3)}
    with pytest.raises(BrokerRefused, match=r"stream CH_news_0: .* asks for 3 servers"):
        async with broker(nats_server.url, Listener(), some):
            pass
    async with broker(nats_server.url, Listener(), {**some, "news": structs.replace(some["news"], replicas=1)}):
        pass


async def test_the_first_number_of_partitions_wins(nats_server):
    async with broker(nats_server.url, Listener(), partitions=3) as a:
        stored = await store(a, NEWS, 1)
        async with broker(nats_server.url, heard := Listener(), partitions=7) as b:
            await b.open(NEWS)
            newest = await b.newest(NEWS)
            assert newest is not None and newest.sequence == stored.offset
            await a.publish(NEWS, publication(2))
            await eventually(lambda: len(heard.lives) == 1)


async def test_many_edges_make_the_streams_at_the_same_time(nats_server):
    async def one() -> dict[str, str]:
        async with broker(nats_server.url, Listener()) as a:
            return {name: a.epoch(ChannelAddress(f"{name}:x", name)) for name in CLASSES}

    epochs = await asyncio.gather(*(one() for _ in range(5)))
    assert all(each == epochs[0] for each in epochs)


async def test_an_acknowledged_publish_survives_kill_9(nats_server):
    async with broker(nats_server.url, Listener()) as a:
        acked: list[int] = []

        async def publish_on() -> None:
            for i in range(2000):
                try:
                    position = await a.publish(NEWS, publication(i))
                except BrokerAway:
                    await eventually(lambda: a.available)
                    continue
                assert position is not None
                acked.append(position.offset)

        work = asyncio.create_task(publish_on())
        for enough in (200, 600):
            await eventually(functools.partial(lambda least: len(acked) > least, enough))
            nats_server.kill9()
            nats_server.start()
        await asyncio.wait_for(work, 40)
        assert acked == sorted(set(acked))
        kept = {entry.sequence for entry in (await a.read(NEWS, 0, 5000)).entries}
        assert set(acked[-500:]) <= kept


async def test_a_publish_in_flight_when_nats_dies_is_stored_once(nats_server):
    async with broker(nats_server.url, heard := Listener()) as a:
        await a.open(NEWS)
        await a.newest(NEWS)
        nats_server.pause()
        publishing = asyncio.create_task(a.publish(NEWS, publication(1)))
        await asyncio.sleep(0)
        nats_server.kill9()
        nats_server.start()
        position = await publishing
        assert position is not None
        assert [entry.sequence for entry in (await a.read(NEWS, 0, 10)).entries] == [position.offset]
        assert len(heard.lives) <= 1


async def test_a_publish_while_the_state_is_asked_for_is_no_fall(nats_server, monkeypatch):
    async with broker(nats_server.url, Listener()) as a:
        stored = await store(a, NEWS, 1)
        before = a.epoch(NEWS)

        async def answered_late(link, stream):
            answer = await stream_state(link, stream)
            await store(a, NEWS, 2)
            return answer

        monkeypatch.setattr(log_streams_nats, "stream_state", answered_late)
        await a.state(NEWS)
        monkeypatch.undo()
        assert NEWS in (await a.audit({NEWS: stored.offset})).behind
        assert a.epoch(NEWS) == before


async def test_streams_that_nats_lost_are_made_again_before_the_broker_is_available(nats_server, tmp_path):
    async with broker(nats_server.url, Listener()) as a:
        await store(a, NEWS, 1)
        before = a.epoch(NEWS)
        async with linked(nats_server.url) as link:
            context = link.stream_manager()
            for name in [info.config.name for info in await context.streams_info()]:
                assert name is not None
                await context.delete_stream(name)
        nats_server.stop()
        await eventually(lambda: not a.available)  # or it would be asked before it has noticed
        nats_server.start()
        await eventually(lambda: a.available)
        for channel in ("news:a", "news:b", "news:c", "chat:d"):
            await store(a, ChannelAddress(channel, channel[:4]), 1)
        assert a.epoch(NEWS) != before


async def test_a_deleted_stream_is_made_anew_with_another_epoch(nats_server):
    async with broker(nats_server.url, Listener()) as a, broker(nats_server.url, Listener()) as b:
        stored = await store(a, NEWS, 1)
        before = a.epoch(NEWS)
        await _delete(nats_server.url, NEWS)
        assert NEWS in (await a.audit({NEWS: stored.offset})).behind
        assert a.epoch(NEWS) != before
        await b.state(NEWS)
        assert b.epoch(NEWS) == a.epoch(NEWS)


async def test_a_stream_whose_last_sequence_fell_gets_another_epoch(nats_server):
    async with broker(nats_server.url, Listener()) as a:
        for i in range(3):
            stored = await store(a, NEWS, i)
        before = a.epoch(NEWS)
        # As restored from an older copy: the same metadata, fewer messages.
        config = await _delete(nats_server.url, NEWS)
        await _make(nats_server.url, replace(config, first_seq=None))
        behind = (await a.audit({NEWS: stored.offset})).behind
        assert a.epoch(NEWS) != before
        assert behind == {} or NEWS in behind, "nothing, if it was noticed before that"


async def test_a_message_without_a_body_is_a_place_in_the_log_without_a_publication(nats_server):
    async with broker(nats_server.url, heard := Listener()) as a:
        await a.open(NEWS)
        await a.newest(NEWS)
        address = subjects.log_address("news", PARTITIONS, NEWS.channel)
        async with linked(nats_server.url) as link:
            await link.request(address.stored, b"")
        await eventually(lambda: len(heard.lives) == 1)
        assert heard.lives[0][1].publication is None
        (entry,) = (await a.read(NEWS, 0, 10)).entries
        assert entry.publication is None and entry.sequence == heard.lives[0][1].sequence


async def test_what_nats_has_for_the_edge_to_take_is_bounded_however_many_read(nats_server, monkeypatch):
    """NATS drops an edge with more than its `max_pending`, and live messages wait behind what was read."""
    in_flight = most = 0

    def counted(read):
        async def reads(link, *arguments):
            nonlocal in_flight, most
            in_flight += 1
            most = max(most, in_flight)
            try:
                return await read(link, *arguments)
            finally:
                in_flight -= 1

        return reads

    monkeypatch.setattr(broker_nats, "read_stream", counted(read_stream))
    monkeypatch.setattr(broker_nats, "read_last", counted(read_last))
    async with broker(nats_server.url, Listener(), partitions=1) as a:
        size, count = 60_000, 40
        for _ in range(count):
            await store(a, NEWS, "x" * size)
        pages = await asyncio.gather(*(a.read(NEWS, 1, 256) for _ in range(100)))
        assert most <= READS_AT_ONCE
        page_bytes = {sum(len(bytes(e.publication.data)) for e in p.entries if e.publication) for p in pages}
        assert max(page_bytes) <= READ_BYTES + size, "and each one asks for so many bytes, not only entries"
        assert all(page.more and len(page.entries) < count for page in pages)
        most = 0
        await asyncio.gather(*(a.newest(NEWS) for _ in range(100)))
        assert most <= LOOKS_AT_ONCE


async def _delete(url: str, address: ChannelAddress) -> StreamConfig:
    stream = subjects.log_address(address.history_class, PARTITIONS, address.channel).stream
    async with linked(url) as link:
        context = link.stream_manager()
        config = (await context.stream_info(stream)).config
        await context.delete_stream(stream)
        return config


async def _make(url: str, config: StreamConfig) -> None:
    async with linked(url) as link:
        await link.stream_manager().add_stream(config)


async def test_streams_that_do_not_answer_are_counted_until_they_do(nats_server, monkeypatch):
    async with broker(nats_server.url, Listener()) as a:
        await a.state(CHAT)
        assert not a.health.unanswered
        monkeypatch.setattr(log_streams_nats, "API_TIMEOUT_S", 0.2)
        nats_server.pause()
        with pytest.raises(BrokerAway):
            await a.state(CHAT)
        assert len(a.health.unanswered) == 1
        nats_server.resume()
        await a.state(CHAT)
        assert not a.health.unanswered
