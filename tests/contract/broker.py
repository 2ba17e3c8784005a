"""What every `services.edge.broker.broker.Broker` promises. Each implementation's test module subclasses this suite."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager

import pytest
from msgspec import Raw

from proto.messages import ClientInfo, Publication
from proto.publications import LiveMessage, Version
from services.edge.broker.broker import READ_BYTES, Broker, BrokerAway, ChannelAddress
from tests.contract.broker_index import BrokerIndex
from tests.contract.broker_publications import CHAT as CHAT
from tests.contract.broker_publications import CLASSES as CLASSES
from tests.contract.broker_publications import NEWS as NEWS
from tests.contract.broker_publications import PLAIN as PLAIN
from tests.contract.broker_publications import Pair
from tests.contract.broker_publications import publication as publication
from tests.contract.broker_publications import store as store
from tests.contract.broker_search import BrokerSearch
from tests.contract.broker_traces import BrokerTraces
from tests.contract.listener import Listener as Listener
from tests.support.eventually import eventually


class BrokerContract(BrokerIndex, BrokerSearch, BrokerTraces):
    """Two edges of one cluster, `a` and `b`, with the events of each."""

    def cluster(self) -> AbstractAsyncContextManager[Pair]:
        raise NotImplementedError("the subclass gives two started brokers of one cluster")

    @pytest.fixture
    async def pair(self, request: pytest.FixtureRequest) -> AsyncIterator[Pair]:
        self.request = request
        async with self.cluster() as pair:
            yield pair

    async def test_a_stored_publication_reaches_every_edge_that_has_the_channel_open(self, pair):
        a, b, heard_a, heard_b = pair
        await a.open(CHAT)
        await b.open(CHAT)
        await a.newest(CHAT), await b.newest(CHAT)
        sent = Publication(data=Raw(b'{"t":1}'), info=ClientInfo(user="7", client="c"), tags={"k": "v"})
        position = await a.publish(CHAT, sent)
        assert position is not None and position.offset > 0 and position.epoch == a.epoch(CHAT) == b.epoch(CHAT)
        for heard in (heard_a, heard_b):
            await eventually(lambda: len(heard_a.lives) == len(heard_b.lives) == 1)
            channel, message = heard.lives[0]
            assert (channel, message.sequence, message.previous) == ("chat:room", position.offset, 0)
            assert message.publication is not None
            assert bytes(message.publication.data) == b'{"t":1}'
            assert message.publication.info == sent.info and message.publication.tags == {"k": "v"}
            assert message.publication.offset == position.offset

    async def test_publications_say_when_they_were_published_by_a_clock_that_all_edges_share(self, pair):
        a, b, _, heard_b = pair
        for address in (CHAT, PLAIN):
            await b.open(address)
        await b.newest(CHAT)
        began = a.now()
        await a.publish(CHAT, publication(1))
        await a.publish(PLAIN, publication(2), confirm=True)
        await a.publish_past_log(CHAT, publication(3), confirm=True)
        ended = a.now()
        await eventually(lambda: len(heard_b.lives) == 2 and heard_b.ephemerals)
        (read,) = (await b.read(CHAT, 0, 10)).entries
        times = [message.published_at for _, message in heard_b.lives] + heard_b.ephemeral_times
        slack = 0.5  # the clocks of two edges agree to within their errors, which are milliseconds here
        assert all(began - slack <= at <= ended + slack for at in (*times, read.published_at))
        assert abs(b.now() - a.now()) < slack

    async def test_all_edges_see_one_order_and_each_message_names_its_predecessor(self, pair):
        a, b, heard_a, heard_b = pair
        await a.open(NEWS)
        await b.open(NEWS)
        await a.newest(NEWS), await b.newest(NEWS)
        await asyncio.gather(*((a if i % 2 else b).publish(NEWS, publication(i)) for i in range(100)))
        await eventually(lambda: len(heard_a.lives) == len(heard_b.lives) == 100)
        order = [message.sequence for _, message in heard_a.lives]
        assert order == sorted(order) == [message.sequence for _, message in heard_b.lives]
        assert [message.previous for _, message in heard_a.lives] == [0, *order[:-1]]

    async def test_a_closed_channel_brings_nothing(self, pair):
        a, b, heard_a, heard_b = pair
        await a.open(CHAT)
        await b.open(CHAT)
        await a.newest(CHAT), await b.newest(CHAT)
        a.close(CHAT)
        await a.newest(CHAT)  # behind the close on the same connection
        await b.publish(CHAT, publication(1))
        await eventually(lambda: len(heard_b.lives) == 1)
        assert heard_a.lives == []

    async def test_channels_do_not_mix(self, pair):
        a, b, heard_a, _ = pair
        names = ["chat:a", "chat:A", "chat:a.b", "chat:*", "chat:>", "chat:a b", "chat:%61", "chat:é"]
        for name in names:
            await a.open(ChannelAddress(name, "chat"))
        await a.newest(CHAT)
        for index, name in enumerate(names):
            await b.publish(ChannelAddress(name, "chat"), publication(index))
        await eventually(lambda: len(heard_a.lives) == len(names))
        assert {name: bytes(m.publication.data) for name, m in heard_a.lives if m.publication} == {
            name: str(index).encode() for index, name in enumerate(names)
        }
        for index, name in enumerate(names):
            newest = await a.newest(ChannelAddress(name, "chat"))
            assert newest is not None and newest.publication is not None
            assert bytes(newest.publication.data) == str(index).encode()

    async def test_the_log_is_read_from_an_offset_in_pages(self, pair):
        a, b, _, _ = pair
        offsets = [(await store(a, NEWS, i)).offset for i in range(7)]
        await a.publish(ChannelAddress("news:other", "news"), publication("0"))
        first = await b.read(NEWS, offsets[2], 3)
        assert [entry.sequence for entry in first.entries] == offsets[2:5] and first.more
        rest = await b.read(NEWS, offsets[5], 3)
        assert [entry.sequence for entry in rest.entries] == offsets[5:] and not rest.more
        assert (await b.read(NEWS, offsets[-1] + 1, 3)).entries == []
        assert [bytes(e.publication.data) for e in (await b.read(NEWS, 0, 100)).entries if e.publication] == [
            str(i).encode() for i in range(7)
        ]

    async def test_a_page_of_large_entries_is_shorter_and_says_that_there_is_more(self, pair):
        a, b, _, _ = pair
        offsets = [(await store(a, NEWS, "x" * (READ_BYTES // 3))).offset for _ in range(5)]
        large = (await store(a, NEWS, "x" * (READ_BYTES + 1))).offset
        last = (await store(a, NEWS, 1)).offset
        first = await b.read(NEWS, 0, 256)
        assert [entry.sequence for entry in first.entries] == offsets[: len(first.entries)] and first.more
        assert sum(len(bytes(e.publication.data)) for e in first.entries if e.publication) < 2 * READ_BYTES
        alone = await b.read(NEWS, large, 256)
        assert [entry.sequence for entry in alone.entries] == [large] and alone.more, "one is read, whatever its size"
        end = await b.read(NEWS, last, 256)
        assert [entry.sequence for entry in end.entries] == [last] and not end.more

    async def test_the_log_keeps_history_size_publications_of_each_channel(self, pair):
        a, _, _, _ = pair
        offsets = [(await store(a, CHAT, i)).offset for i in range(9)]
        kept = await a.read(CHAT, 0, 100)
        assert [entry.sequence for entry in kept.entries] == offsets[-5:]
        state = await a.state(CHAT)
        assert state.last >= offsets[-1] and state.first <= offsets[-5]

    async def test_a_channel_without_publications_has_no_newest(self, pair):
        a, _, _, _ = pair
        assert await a.newest(CHAT) is None
        assert (await a.read(CHAT, 0, 10)).entries == []
        state = await a.state(CHAT)
        assert state.first <= state.last + 1 and state.epoch

    async def test_a_message_id_is_stored_once_for_all_edges(self, pair):
        a, b, heard_a, _ = pair
        await a.open(NEWS)
        await a.newest(NEWS)
        first = await store(a, NEWS, 1, "key")
        again = await store(b, NEWS, 2, "key")
        other = await store(b, NEWS, 3, "key2")
        assert first == again and other.offset > first.offset
        await eventually(lambda: len(heard_a.lives) == 2)
        assert [bytes(m.publication.data) for _, m in heard_a.lives if m.publication] == [b"1", b"3"]

    async def test_without_history_publications_are_live_only(self, pair):
        a, b, heard_a, heard_b = pair
        await a.open(PLAIN)
        await b.open(PLAIN)
        assert await a.publish(PLAIN, Publication(data=Raw(b'"x"'), info=ClientInfo(user="", client="c"))) is None
        for heard in (heard_a, heard_b):
            await eventually(lambda: len(heard_a.ephemerals) == len(heard_b.ephemerals) == 1)
            channel, got = heard.ephemerals[0]
            assert channel == "live:x" and bytes(got.data) == b'"x"' and got.offset == 0
            assert got.info == ClientInfo(user="", client="c")

    async def test_without_history_a_message_id_is_published_once_for_all_edges(self, pair):
        a, b, heard_a, _ = pair
        await a.open(PLAIN)
        other = ChannelAddress("live:y")
        await a.open(other)
        for broker, channel, value, key in (
            (a, PLAIN, 1, "key"),
            (b, PLAIN, 2, "key"),
            (a, PLAIN, 3, "key"),
            (b, PLAIN, 4, "key2"),
            (b, other, 5, "key3"),
            (a, PLAIN, 6, ""),
            (b, PLAIN, 7, ""),
        ):
            assert await broker.publish(channel, publication(value), key) is None
        await eventually(lambda: len(heard_a.ephemerals) == 5)
        assert sorted(int(bytes(got.data)) for _, got in heard_a.ephemerals) == [1, 4, 5, 6, 7]

    @pytest.mark.parametrize("data", [b"not json", b"\xff\x00\r\n", b"{}", b""])
    async def test_a_payload_is_any_bytes(self, pair, data):
        a, b, heard_a, _ = pair
        await a.open(NEWS)
        await a.open(PLAIN)
        await a.newest(NEWS)
        for address in (NEWS, PLAIN):
            await b.publish(address, Publication(data=Raw(data)))
        await eventually(lambda: len(heard_a.lives) == len(heard_a.ephemerals) == 1)
        live = heard_a.lives[0][1].publication
        assert live is not None and bytes(live.data) == bytes(heard_a.ephemerals[0][1].data) == data
        newest = await a.newest(NEWS)
        assert newest is not None and newest.publication == live

    async def test_a_publication_past_the_log_is_live_only(self, pair):
        a, b, heard_a, heard_b = pair
        await a.open(CHAT)
        await b.open(CHAT)
        await a.newest(CHAT), await b.newest(CHAT)
        before = await store(a, CHAT, 1)
        sent = Publication(data=Raw(b"2"), info=ClientInfo(user="7", client="c"), tags={"k": "v"})
        await a.publish_past_log(CHAT, sent)
        for heard in (heard_a, heard_b):
            await eventually(lambda: len(heard_a.lives) == len(heard_b.lives) == 2)
            channel, message = heard.lives[1]
            assert channel == "chat:room" and message == LiveMessage(0, 0, sent, published_at=message.published_at)
        newest = await b.newest(CHAT)
        assert newest is not None and newest.sequence == before.offset
        assert [entry.sequence for entry in (await b.read(CHAT, 0, 9)).entries] == [before.offset]

    async def test_past_the_log_a_message_id_is_published_once_too(self, pair):
        a, b, heard_a, _ = pair
        await a.open(CHAT)
        await a.newest(CHAT)
        for broker, value, key in ((a, 1, "key"), (b, 2, "key"), (b, 3, "key2"), (b, 4, "")):
            await broker.publish_past_log(CHAT, publication(value), key)
        await eventually(lambda: len(heard_a.lives) == 3)
        assert sorted(int(bytes(m.publication.data)) for _, m in heard_a.lives if m.publication) == [1, 3, 4]

    async def test_a_version_that_is_not_newer_is_left_out(self, pair):
        a, b, heard_a, _ = pair
        await a.open(CHAT)
        await a.newest(CHAT)
        first = await store(a, CHAT, 5, version=Version(5))
        assert await store(b, CHAT, 5, version=Version(5)) == first
        assert await store(b, CHAT, 4, version=Version(4)) == first
        other = ChannelAddress("chat:other", "chat")
        await store(b, other, 1, version=Version(1))
        assert await b.newest(other) is not None, "each channel counts for itself"
        second = await store(b, CHAT, 6, version=Version(6))
        assert second.offset > first.offset
        anew = await store(a, CHAT, 1, version=Version(1, "epoch"))
        assert anew.offset > second.offset, "another epoch counts anew"
        assert await store(b, CHAT, 1, version=Version(1, "epoch")) == anew
        without = await store(a, CHAT, 0)
        assert without.offset > anew.offset, "who says no version publishes"
        assert (await store(b, CHAT, 3, version=Version(1))).offset > without.offset, "and is followed by any version"
        await eventually(lambda: len(heard_a.lives) == 5)
        assert [int(bytes(m.publication.data)) for _, m in heard_a.lives if m.publication] == [5, 6, 1, 0, 3]

    async def test_racing_versions_end_with_the_newest(self, pair):
        a, b, _, _ = pair
        await asyncio.gather(*((a if n % 2 else b).publish(NEWS, publication(n), "", Version(n)) for n in range(1, 30)))
        kept = [int(bytes(e.publication.data)) for e in (await a.read(NEWS, 0, 100)).entries if e.publication]
        assert kept == sorted(kept) and kept[-1] == 29

    async def test_a_removed_history_leaves_a_mark(self, pair):
        a, b, heard_a, heard_b = pair
        await a.open(CHAT)
        await b.open(CHAT)
        await a.newest(CHAT), await b.newest(CHAT)
        last = [await store(a, CHAT, n) for n in range(3)][-1]
        stays = await store(a, ChannelAddress("chat:other", "chat"), 9)
        await a.remove_history(CHAT)
        for heard in (heard_a, heard_b):
            await eventually(lambda: len(heard_a.lives) == len(heard_b.lives) == 4)
            mark = heard.lives[3][1]
            assert (mark.previous, mark.publication, mark.removed_upto) == (last.offset, None, last.offset)
        for broker in (a, b):
            (entry,) = (await broker.read(CHAT, 0, 10)).entries
            assert (entry.sequence, entry.publication, entry.removed_upto) == (mark.sequence, None, last.offset)
            assert await broker.newest(CHAT) == entry
        (other,) = (await b.read(ChannelAddress("chat:other", "chat"), 0, 10)).entries
        assert other.sequence == stays.offset and other.removed_upto == 0
        after = await store(b, CHAT, "after")
        assert after.epoch == last.epoch and after.offset > mark.sequence
        assert [entry.sequence for entry in (await a.read(CHAT, 0, 10)).entries] == [mark.sequence, after.offset]

    async def test_where_there_is_no_history_none_is_removed(self, pair):
        a, _, _, _ = pair
        await a.remove_history(CHAT)
        assert await a.newest(CHAT) is None
        assert (await a.read(CHAT, 0, 9)).entries == [], "nothing is marked either"

    async def test_the_audit_names_the_channels_that_are_behind(self, pair):
        a, b, _, _ = pair
        quiet, never = ChannelAddress("news:quiet", "news"), ChannelAddress("news:never", "news")
        known = await store(b, quiet, 0)
        before = await store(b, NEWS, 1)
        await a.state(NEWS), await a.state(quiet), await a.state(never)
        positions = {NEWS: before.offset, quiet: known.offset, never: 0}
        assert (await a.audit(positions)).behind == {}
        second = await store(b, NEWS, 2)
        assert (await a.audit(positions)).behind == {NEWS: second.offset}

    async def test_an_absent_broker_is_said_at_once(self, pair):
        a, _, _, _ = pair
        await self.take_away(a)
        assert not a.available
        for call in (
            a.publish(CHAT, publication(1)),
            a.publish(PLAIN, publication(1)),
            a.publish_past_log(CHAT, publication(1)),
            a.remove_history(CHAT),
            a.read(CHAT, 0, 1),
            a.newest(CHAT),
            a.state(CHAT),
        ):
            with pytest.raises(BrokerAway):
                await call

    async def take_away(self, broker: Broker) -> None:
        raise NotImplementedError
