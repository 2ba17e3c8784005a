"""Special channels: those where only the newest publication counts, with removed history, versions,
publications that skip the history, subscribers with filters and differences.
"""

from __future__ import annotations

import json

import pytest
from msgspec import Raw

from proto import codes
from proto.messages import FilterNode, Publication, StreamPosition
from proto.publications import Version
from proto.replies import SubscribeResult
from services.edge.channels.channel_log import RING_BYTES
from services.edge.channels.history import HistoryPage
from services.edge.channels.tags_filter import compile_filter
from services.edge.rejection import Rejected
from tests.support.cluster import EdgeCluster, FakeSubscriber, TestEdge, attach_request, settled
from tests.support.eventually import eventually
from tests.support.namespaces import HOUR, rules_of


def values(result: SubscribeResult) -> list[object]:
    return [json.loads(bytes(publication.data)) for publication in result.publications]


class TestCache:
    """3.4: coming back means the newest publication, not everything that was missed."""

    async def test_the_newest_one_is_given_to_whoever_missed_it(self, a, b):
        positions = [await a.publish("state:x", n) for n in range(4)]
        on_a, result = await a.subscribe("state:x", positions[0])
        assert (result.was_recovering, result.recovered, values(result)) == (True, True, [3])
        assert result.offset == positions[3].offset, "where it is now, not where it was"
        on_b, again = await b.subscribe("state:x", positions[0])
        assert again == result
        await a.publish("state:x", "next")
        await eventually(lambda: on_a.values == on_b.values == ["next"])

    async def test_a_subscriber_that_has_the_newest_gets_nothing(self, a, b):
        top = await a.publish("state:x", 1)
        for edge in (a, b):
            _, result = await edge.subscribe("state:x", top)
            assert result.recovered and result.publications == []

    async def test_far_behind_or_of_another_epoch_it_is_given_all_the_same(self, a):
        for n in range(30):
            await a.publish("state:x", n)
        for since in (StreamPosition(1, "epoch1"), StreamPosition(30, "other"), StreamPosition(0, "")):
            _, result = await a.subscribe("state:x", since)
            assert result.recovered and values(result) == [29]

    async def test_an_empty_channel_has_nothing_to_recover(self, a):
        _, result = await a.subscribe("state:x", StreamPosition(0, "epoch1"))
        assert result.was_recovering and not result.recovered and result.publications == []
        with pytest.raises(Rejected) as raised:
            await a.node.subscribe(
                FakeSubscriber(), attach_request("state:x", StreamPosition(0, "epoch1"), reject=True)
            )
        assert raised.value.error == codes.UNRECOVERABLE_POSITION

    async def test_without_recovery_nothing_is_given_unless_it_is_always_given(self, a, b):
        for channel, given in (("state:x", []), ("now:x", [1])):
            await a.publish(channel, 0)
            await a.publish(channel, 1)
            for edge in (a, b):
                _, result = await edge.subscribe(channel)
                assert values(result) == given and not result.was_recovering and not result.recovered

    async def test_a_publication_too_large_for_the_ring_is_read_from_the_log(self, a):
        await a.subscribe("state:x")
        await a.publish("state:x", "small")
        await a.publish("state:x", "x" * RING_BYTES)
        await eventually(lambda: a.node.position("state:x").offset == 2)
        _, result = await a.subscribe("state:x", StreamPosition(1, "epoch1"))
        assert values(result) == ["x" * RING_BYTES]

    async def test_the_newest_is_not_older_than_what_follows_it(self, a, monkeypatch):
        """Another large one is stored while the newest is looked up."""
        await a.subscribe("state:x")
        newest = a.broker.newest
        await a.publish("state:x", "1" * RING_BYTES)
        await eventually(lambda: a.node.position("state:x").offset == 1)

        async def and_then_another(address):
            found = await newest(address)
            monkeypatch.setattr(a.broker, "newest", newest)
            await a.publish("state:x", "2" * RING_BYTES)
            await eventually(lambda: a.node.position("state:x").offset == 2)
            return found

        monkeypatch.setattr(a.broker, "newest", and_then_another)
        _, result = await a.subscribe("state:x", StreamPosition(0, "epoch1"))
        assert [publication.offset for publication in result.publications] == [result.offset] == [2]


class TestRemoval:
    """The history of a channel was removed: on every edge clients that were behind are told, the others go on."""

    @pytest.fixture(params=["open before", "opened later"])
    async def removed(self, request, a, b) -> tuple[TestEdge, TestEdge, list[StreamPosition]]:
        if request.param == "open before":
            for edge in (a, b):
                await edge.subscribe("chat:x")
        positions = [await a.publish("chat:x", n) for n in range(3)]
        if request.param == "open before":
            await eventually(lambda: a.node.position("chat:x") == b.node.position("chat:x") == positions[-1])
        await a.node.history.remove("chat:x", rules_of("chat:x"))
        return a, b, positions

    async def test_subscribers_that_were_behind_are_told(self, removed):
        a, b, positions = removed
        for edge in (a, b):
            for since in (positions[0], positions[1], StreamPosition(0, positions[0].epoch)):
                _, result = await edge.subscribe("chat:x", since)
                assert result.was_recovering and not result.recovered and result.publications == []

    async def test_subscribers_that_had_everything_go_on(self, removed):
        a, b, positions = removed
        after = await b.publish("chat:x", "after")
        for edge in (a, b):
            with edge.node.channels.using("chat:x", rules_of("chat:x")) as channel:
                await edge.node.sync.opened(channel)
                await edge.node.sync.synced(channel)
            _, result = await edge.subscribe("chat:x", positions[2])
            assert result.recovered and values(result) == ["after"]
            subscriber, result = await edge.subscribe("chat:x", after)
            assert result.recovered and result.publications == []
            assert result.epoch == positions[0].epoch and result.offset > positions[2].offset
            assert subscriber.ended == []

    async def test_there_is_no_history_left_and_the_top_stays_or_grows(self, removed):
        a, b, positions = removed
        for edge in (a, b):
            found = await edge.node.history.read("chat:x", rules_of("chat:x"), 100, None, False)
            assert isinstance(found, HistoryPage) and found.publications == []
            assert found.top.epoch == positions[0].epoch and found.top.offset >= positions[2].offset
        await a.publish("chat:x", "after")
        for edge in (a, b):
            for reverse in (True, False):
                found = await edge.node.history.read("chat:x", rules_of("chat:x"), 100, None, reverse)
                assert isinstance(found, HistoryPage) and [bytes(p.data) for p in found.publications] == [b'"after"']

    async def test_subscribers_notice_nothing(self, a, b):
        subscriber, _ = await b.subscribe("chat:x")
        await a.publish("chat:x", 1)
        await a.node.history.remove("chat:x", rules_of("chat:x"))
        await a.publish("chat:x", 2)
        await eventually(lambda: subscriber.values == [1, 2])
        assert subscriber.ended == [] and b.tally.gaps.total() == 0

    async def test_a_mark_whose_live_message_was_lost_is_found(self, a, b):
        subscriber, _ = await b.subscribe("chat:x")
        behind = await a.publish("chat:x", 1)
        last = await a.publish("chat:x", 2)
        await eventually(lambda: subscriber.values == [1, 2])
        b.broker.lose_live = lambda message: message.removed_upto > 0
        await a.node.history.remove("chat:x", rules_of("chat:x"))
        await a.publish("chat:x", 3)
        await eventually(lambda: subscriber.values == [1, 2, 3])
        assert subscriber.ended == [] and b.tally.holes.total() == 0
        _, result = await b.subscribe("chat:x", behind)
        assert not result.recovered, "the ring forgot what was removed"
        _, result = await b.subscribe("chat:x", last)
        assert result.recovered and values(result) == [3]

    async def test_publications_removed_before_an_edge_read_them_are_a_hole(self, a, b):
        subscriber, _ = await b.subscribe("chat:x")
        b.broker.lose_live = lambda message: True
        await a.publish("chat:x", 1)
        await a.node.history.remove("chat:x", rules_of("chat:x"))
        b.broker.lose_live = lambda message: False
        await a.publish("chat:x", 2)
        await eventually(lambda: subscriber.ended == [("chat:x", codes.UNSUBSCRIBED_INSUFFICIENT_STATE)])
        assert b.tally.holes.total() == 1

    async def test_a_cache_is_empty_then(self, a, b):
        top = await a.publish("state:x", 1)
        await a.subscribe("state:x")
        await a.node.history.remove("state:x", rules_of("state:x"))
        for edge in (a, b):
            _, result = await edge.subscribe("state:x", StreamPosition(0, top.epoch))
            assert not result.recovered and result.publications == []


class TestPublishing:
    async def test_a_version_that_is_not_newer_is_left_out_and_told_the_newest_position(self, a, b):
        subscriber, _ = await a.subscribe("chat:x")

        async def publish(edge: TestEdge, value: int, version: Version) -> StreamPosition | None:
            return await edge.node.publish(
                "chat:x", rules_of("chat:x"), Publication(Raw(b"%d" % value)), version=version
            )

        first = await publish(a, 5, Version(5))
        assert await publish(b, 4, Version(4)) == first == await publish(a, 5, Version(5))
        second = await publish(b, 6, Version(6))
        assert second != first
        other = await publish(a, 1, Version(1, "another epoch"))
        assert other is not None and second is not None and other.offset > second.offset
        await eventually(lambda: subscriber.values == [5, 6, 1])

    async def test_a_publication_that_skips_the_history_reaches_present_subscribers_only(self, a, b):
        subscriber, _ = await b.subscribe("chat:x")
        first = await a.publish("chat:x", 1)
        await eventually(lambda: subscriber.values == [1])
        data = Publication(Raw(b'"passing"'))
        assert await a.node.publish("chat:x", rules_of("chat:x"), data, skip_history=True) is None
        await eventually(lambda: subscriber.values == [1, "passing"])
        assert "offset" not in subscriber.pushes[-1]["pub"], "it has no place in the log"
        _, result = await b.subscribe("chat:x", first)
        assert result.recovered and result.publications == [] and result.offset == first.offset
        await a.publish("chat:x", 2)
        await eventually(lambda: subscriber.values == [1, "passing", 2])

    async def test_without_history_nothing_can_be_skipped(self, a):
        subscriber, _ = await a.subscribe("live:x")
        assert await a.node.publish("live:x", rules_of("live:x"), Publication(Raw(b"1")), skip_history=True) is None
        await eventually(lambda: subscriber.values == [1])

    @pytest.mark.parametrize("channel", ["chat:x", "live:x"])
    async def test_the_same_id_twice_is_one_publication_on_all_edges(self, a, b, channel):
        subscriber, _ = await a.subscribe(channel)
        positions = [
            await edge.node.publish(channel, rules_of(channel), Publication(Raw(b"%d" % n)), message_id="k")
            for n, edge in enumerate((a, b, a))
        ]
        await a.publish(channel, "last")
        await eventually(lambda: subscriber.values == [0, "last"])
        assert len(set(positions)) == 1


class TestDeltas:
    async def test_a_publication_past_the_log_makes_the_next_one_whole(self, a):
        """The client took it for its base, and the others that make patches know nothing of it."""
        subscriber, result = await a.subscribe("diff:x", delta=True)
        assert result.delta
        for n in range(2):
            await a.publish("diff:x", {"n": n, "text": "x" * 100})
        await eventually(lambda: len(subscriber.pushes) == 2)
        await a.node.publish("diff:x", rules_of("diff:x"), Publication(Raw(b'"passing"')), skip_history=True)
        for n in range(2, 4):
            await a.publish("diff:x", {"n": n, "text": "x" * 100})
        await eventually(lambda: len(subscriber.pushes) == 5)
        assert [push["pub"].get("delta", False) for push in subscriber.pushes] == [False, True, False, False, True]

    async def test_after_a_hole_and_after_a_removal_the_next_one_is_whole(self, a):
        subscriber, _ = await a.subscribe("diff:x", delta=True)
        for n in range(2):
            await a.publish("diff:x", {"n": n, "text": "x" * 100})
        await a.node.history.remove("diff:x", rules_of("diff:x"))
        for n in range(2, 4):
            await a.publish("diff:x", {"n": n, "text": "x" * 100})
        await eventually(lambda: len(subscriber.pushes) == 4)
        assert [push["pub"].get("delta", False) for push in subscriber.pushes] == [False, True, False, True]

    async def test_a_gap_that_was_closed_is_no_break(self, a):
        subscriber, _ = await a.subscribe("diff:x", delta=True)
        a.broker.lose_live = lambda message: message.sequence in (2, 3)
        for n in range(5):
            await a.publish("diff:x", {"n": n, "text": "x" * 100})
        await eventually(lambda: len(subscriber.pushes) == 5)
        assert [push["pub"].get("delta", False) for push in subscriber.pushes] == [False, True, True, True, True]


async def test_a_filter_leaves_out_what_is_not_wanted_and_its_position_moves_on(a):
    red = compile_filter(FilterNode(key="team", cmp="eq", val="red"))
    subscriber, _ = await a.subscribe("diff:x", filter=red)
    for n, team in enumerate(("red", "blue", "red", "blue")):
        await a.publish("diff:x", n, tags={"team": team})
    await eventually(lambda: a.node.position("diff:x").offset == 4)
    assert subscriber.values == [0, 2] and subscriber.offsets == [1, 3]


class TestCacheAcrossEdges:
    async def test_a_client_that_was_ahead_of_this_edge_is_not_sent_back(self, a, b):
        await b.subscribe("state:x")
        await a.publish("state:x", 1)
        await settled()
        b.broker.lose_live = lambda message: True
        at = await a.publish("state:x", 2)
        subscriber, result = await b.subscribe("state:x", at)
        assert result.recovered and result.publications == [] and result.offset >= at.offset
        b.broker.lose_live = lambda message: False
        await a.publish("state:x", 3)
        await eventually(lambda: subscriber.values == [3])

    async def test_a_position_that_no_edge_has_reached_is_not_believed(self, a):
        at = await a.publish("state:x", 1)
        _, result = await a.subscribe("state:x", StreamPosition(at.offset + 100, at.epoch))
        assert not result.recovered and result.offset == at.offset

    async def test_no_edge_delivers_an_expired_publication(self):
        now = [0.0]
        cluster = EdgeCluster(lambda: now[0])
        a, b = await TestEdge(cluster).start(), await TestEdge(cluster).start()
        await a.subscribe("state:x")
        at = await a.publish("state:x", 1)
        await settled()
        now[0] += 2 * HOUR
        for edge in (a, b):
            _, result = await edge.subscribe("state:x", StreamPosition(0, at.epoch))
            assert not result.recovered and result.publications == []


async def test_the_top_of_a_page_is_not_behind_what_was_acknowledged_on_another_edge(a, b):
    await a.subscribe("chat:x")
    a.broker.lose_live = lambda message: True
    offsets = [(await b.publish("chat:x", i)).offset for i in range(6)]
    found = await a.node.history.read("chat:x", rules_of("chat:x"), 2, None, False)
    assert [publication.offset for publication in found.publications] == offsets[:2]
    assert found.top.offset == offsets[-1]
