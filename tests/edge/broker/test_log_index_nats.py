"""The index of a log: how it is made, kept and made anew. What it answers is in the brokers' contract."""

from __future__ import annotations

import pytest

from proto import subjects
from proto.publications import encode_removal
from services.chassis.nats.following import last_followed, read_followed, stream_names
from services.chassis.nats.link import NatsAway
from services.chassis.nats.streams import renew_epoch
from services.chassis.process.settings import Duration
from services.edge.broker import log_index_nats
from services.edge.broker.broker import ChannelAddress
from services.edge.broker.broker_nats import NatsBroker
from services.edge.channel_settings import ChannelOptions
from tests.contract.broker import CHAT, NEWS, Listener, store
from tests.edge.broker.test_broker_nats import broker
from tests.support.cuttable_link import cuttable
from tests.support.eventually import eventually
from tests.support.links import linked

pytestmark = pytest.mark.integration


async def test_each_epoch_of_a_log_has_an_index_of_its_own(nats_server):
    async with broker(nats_server.url, Listener(), partitions=1) as a, linked(nats_server.url) as link:
        before = a.epoch(CHAT)
        position = await store(a, CHAT, 1)
        assert await a.index.after(CHAT, before, 0, position.offset) is not None
        await renew_epoch(link, "CH_chat_0")
        epoch = (await a.state(CHAT)).epoch
        await eventually(lambda: _only(link, f"IDX_chat_0_{epoch}"))
        assert await a.index.after(CHAT, before, 0, position.offset) is None
        indexed = await a.index.after(CHAT, epoch, 0, position.offset)
        assert indexed is not None and indexed.first == position.offset


async def _only(link, name: str) -> bool:
    return await stream_names(link, "IDX_chat_0_") == [name]


async def test_an_index_that_was_deleted_is_made_again(nats_server):
    async with broker(nats_server.url, Listener(), partitions=1) as a, linked(nats_server.url) as link:
        position = await store(a, NEWS, 1)
        assert await _after(a, NEWS, position.offset) == position.offset
        await link.stream_manager().delete_stream(f"IDX_news_0_{a.epoch(NEWS)}")
        await eventually(lambda: _after(a, NEWS, position.offset))
        assert await _after(a, NEWS, position.offset) == position.offset


async def _after(a: NatsBroker, address: ChannelAddress, upto: int) -> int:
    try:
        indexed = await a.index.after(address, a.epoch(address), 0, upto)
    except Exception as error:
        assert isinstance(error.__context__, NatsAway)
        return 0
    return 0 if indexed is None else indexed.first


async def test_every_day_has_a_message_that_tells_how_far_the_index_reaches(nats_server):
    """Also when edges start again and again."""
    for _ in range(2):
        async with broker(nats_server.url, Listener(), partitions=1) as a, linked(nats_server.url) as link:
            await a.index.after(CHAT, a.epoch(CHAT), 0, 0)
            name = f"IDX_chat_0_{a.epoch(CHAT)}"
            assert await last_followed(link, name) is not None
            assert len((await read_followed(link, name, 10))[0]) == 2, "and one that it is read without a break since"


async def test_what_came_and_was_purged_while_an_edge_could_not_hear_is_found(nats_server):
    where = subjects.log_address("chat", 1, CHAT.channel)
    async with cuttable(nats_server.url) as cut, broker(cut.url, Listener(), partitions=1) as a:
        await a.open(CHAT)
        at = (await store(a, CHAT, 1)).offset
        await a.index.after(CHAT, a.epoch(CHAT), 0, at)
        assert (await a.audit({CHAT: at})).behind == {}
        cut.drop()
        await eventually(lambda: not a.available)
        async with linked(nats_server.url) as link:
            for _ in range(3):
                await link.request(where.stored, b"2")
            await link.stream_manager().purge_stream(where.stream, subject=where.stored)
        await cut.mend()
        await eventually(lambda: a.available)
        assert CHAT in (await a.audit({CHAT: at})).behind
        assert (await a.audit({CHAT: at})).behind == {}, "it is said once"


async def test_an_index_that_was_deleted_while_an_edge_could_not_hear_hides_nothing(nats_server):
    where = subjects.log_address("chat", 1, CHAT.channel)
    async with cuttable(nats_server.url) as cut, broker(cut.url, Listener(), partitions=1) as a:
        await a.open(CHAT)
        at = (await store(a, CHAT, 1)).offset
        await a.index.after(CHAT, a.epoch(CHAT), 0, at)
        cut.drop()
        await eventually(lambda: not a.available)
        async with linked(nats_server.url) as link:
            await link.stream_manager().delete_stream(f"IDX_chat_0_{a.epoch(CHAT)}")
            await link.request(where.stored, b"2")
            await link.stream_manager().purge_stream(where.stream, subject=where.stored)
        await cut.mend()
        await eventually(lambda: a.available)
        assert CHAT in (await a.audit({CHAT: at})).behind, "what the index cannot tell may have come"


async def test_what_expired_while_nobody_read_it_for_the_index_is_not_proven(nats_server):
    brief = {"chat": ChannelOptions(history_size=5, history_ttl=Duration(1))}
    where = subjects.log_address("chat", 1, CHAT.channel)
    async with broker(nats_server.url, Listener(), brief, partitions=1) as a, linked(nats_server.url) as link:
        at = (await store(a, CHAT, 1)).offset
        epoch = a.epoch(CHAT)
        assert await a.index.after(CHAT, epoch, 0, at) is not None
        await link.stream_manager().delete_consumer(where.stream, f"IDX_chat_0_{epoch}")
        for _ in range(3):
            last = (await store(a, CHAT, 2)).offset
        await eventually(lambda: _is_empty(a))
        async with broker(nats_server.url, Listener(), brief, partitions=1) as b:
            indexed = await b.index.after(CHAT, epoch, at, last)
            assert indexed is None or (not indexed.whole and indexed.unbroken_since > at)


async def _is_empty(a: NatsBroker) -> bool:
    return await a.newest(CHAT) is None


async def test_a_removal_that_was_marked_and_not_purged_is_finished_by_the_next(nats_server):
    async with broker(nats_server.url, Listener(), partitions=1) as a, linked(nats_server.url) as link:
        at = (await store(a, CHAT, 1)).offset
        where = subjects.log_address("chat", 1, CHAT.channel)
        await link.request(where.stored, b"", encode_removal(at))
        await a.remove_history(CHAT)
        (mark,) = (await a.read(CHAT, 0, 10)).entries
        assert mark.removed_upto == at


async def test_of_a_log_that_lacks_the_first_one_no_further_names_are_read(nats_server, monkeypatch):
    """Whoever comes back after a history is gone must not have all of its names read, over and over."""
    large = {"chat": ChannelOptions(history_size=2000, history_ttl=Duration(60))}
    pages = [0]

    async def counted(*arguments, **more):
        pages[0] += 1
        return await read_followed(*arguments, **more)

    async with broker(nats_server.url, Listener(), large, partitions=1) as a:
        offsets = [(await store(a, CHAT, number)).offset for number in range(700)]
        epoch, last = a.epoch(CHAT), offsets[-1]
        assert await a.index.after(CHAT, epoch, offsets[0], last) is not None
        monkeypatch.setattr(log_index_nats, "read_followed", counted)
        for first in (0, offsets[300]):
            pages[0] = 0
            gone = await a.index.after(CHAT, epoch, offsets[0], last, last, first)
            assert gone is not None and offsets[1] in gone.named and (gone.first, gone.total) == (offsets[1], 699)
            assert pages[0] == 1
        whole = await a.index.after(CHAT, epoch, offsets[0], last, last, offsets[1])
        assert whole is not None and whole.named == frozenset(offsets[1:])
