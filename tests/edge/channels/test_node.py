"""Subscribing, recovering and publishing on two edges that share an in-memory broker."""

from __future__ import annotations

import asyncio

import pytest

from proto import codes
from proto.messages import StreamPosition
from proto.replies import SubscribeResult
from services.edge.broker.broker import BrokerAway, BrokerRefused
from services.edge.broker.broker_memory import MAX_PUBLICATION_BYTES
from services.edge.rejection import Rejected
from tests.edge.talks import connected
from tests.support.cluster import FakeSubscriber, attach_request
from tests.support.eventually import eventually
from tests.support.namespaces import rules_of


async def test_subscribers_of_all_edges_get_everything_in_one_order(a, b):
    one, _ = await a.subscribe("chat:x")
    two, _ = await b.subscribe("chat:x")
    for i in range(20):
        await (a if i % 3 else b).publish("chat:x", i)
    await eventually(lambda: len(one.values) == len(two.values) == 20)
    assert one.values == two.values == list(range(20))
    assert one.offsets == sorted(one.offsets) == two.offsets


async def test_a_fresh_subscription_starts_at_the_top_of_the_log(a, b):
    for i in range(3):
        top = await a.publish("chat:x", i)
    subscriber, result = await b.subscribe("chat:x")
    assert result == SubscribeResult(recoverable=True, positioned=True, epoch=top.epoch, offset=top.offset)
    assert subscriber.values == []


async def test_without_history_there_is_no_position(a):
    subscriber, result = await a.subscribe("live:x")
    assert result == SubscribeResult()
    await a.publish("live:x", "now")
    await eventually(lambda: subscriber.values == ["now"])


async def test_missed_publications_are_recovered_on_another_edge_and_live_ones_follow(a, b):
    _, first = await a.subscribe("chat:x")
    for i in range(5):
        await a.publish("chat:x", i)
    back, result = await b.subscribe("chat:x", StreamPosition(first.offset, first.epoch))
    assert result.was_recovering and result.recovered
    assert result.offset == first.offset, "SDKs expect their own offset back"
    assert [bytes(p.data) for p in result.publications] == [b"0", b"1", b"2", b"3", b"4"]
    await a.publish("chat:x", 5)
    await eventually(lambda: back.values == [5])


async def test_recovery_from_the_ring_needs_no_read(a):
    await a.subscribe("chat:x")
    position = await a.publish("chat:x", 0)
    await a.publish("chat:x", 1)
    await eventually(lambda: a.node.position("chat:x").offset == 2)
    reads = a.broker.reads
    _, result = await a.subscribe("chat:x", position)
    assert result.recovered and [bytes(p.data) for p in result.publications] == [b"1"]
    assert a.broker.reads == reads


async def test_nothing_missed_is_a_recovery_too(a, b):
    position = await a.publish("chat:x", 0)
    _, result = await b.subscribe("chat:x", position)
    assert result.recovered and result.publications == [] and result.offset == position.offset


async def test_beyond_the_history_the_client_is_told(a, b):
    position = await a.publish("chat:x", 0)
    for i in range(11):  # the history holds 10
        top = await a.publish("chat:x", i)
    _, result = await b.subscribe("chat:x", position)
    assert result.was_recovering and not result.recovered and result.publications == []
    assert result.offset == top.offset and result.epoch == top.epoch


async def test_the_whole_history_is_still_recovered(a, b):
    position = await a.publish("chat:x", 0)
    for i in range(1, 10):
        await a.publish("chat:x", i)
    _, result = await b.subscribe("chat:x", position)
    assert result.recovered and [bytes(p.data) for p in result.publications] == [b"%d" % i for i in range(1, 10)]


async def test_a_position_before_the_first_publication_recovers_everything(a, b):
    _, first = await a.subscribe("chat:x")
    assert first.offset == 0
    for i in range(4):
        await b.publish("chat:x", i)
    _, result = await b.subscribe("chat:x", StreamPosition(0, first.epoch))
    assert result.recovered and len(result.publications) == 4


async def test_a_position_on_an_empty_channel_survives_traffic_on_others(a, b):
    for i in range(3):
        await a.publish("chat:other", i)
    _, first = await a.subscribe("chat:quiet")
    for i in range(3):
        await a.publish("chat:other", i)
    _, on_b = await b.subscribe("chat:quiet", StreamPosition(first.offset, first.epoch))
    assert on_b.recovered and on_b.publications == []
    # b came to the channel later and knows a higher position; a has to accept it too
    _, fresh = await b.subscribe("chat:quiet")
    assert fresh.offset > first.offset
    subscriber, on_a = await a.subscribe("chat:quiet", StreamPosition(fresh.offset, fresh.epoch))
    assert on_a.recovered and on_a.publications == []
    await b.publish("chat:quiet", "news")
    await eventually(lambda: subscriber.values == ["news"])


async def test_a_made_up_position_is_not_recovered(a):
    top = await a.publish("chat:x", 0)
    _, result = await a.subscribe("chat:x", StreamPosition(top.offset + 1000, top.epoch))
    assert result.was_recovering and not result.recovered and result.offset == top.offset


async def test_a_claimed_position_costs_other_subscribers_nothing(cluster, a, b, monkeypatch):
    """A publication that is stored while such a claim is being checked reaches every subscriber."""
    victim, first = await a.subscribe("chat:x")
    await a.publish("chat:other", 0)
    state, synced = a.broker.state, a.node.sync.synced

    async def publish_after_the_state(*args):
        monkeypatch.setattr(a.broker, "state", state)
        answer = await state(*args)
        await b.publish("chat:x", "in between")
        return answer

    async def publish_after_the_sync(*args):
        monkeypatch.setattr(a.node.sync, "synced", synced)
        await synced(*args)
        await b.publish("chat:x", "later")

    a.broker.lose_live = lambda message: True
    monkeypatch.setattr(a.broker, "state", publish_after_the_state)
    monkeypatch.setattr(a.node.sync, "synced", publish_after_the_sync)
    _, result = await a.subscribe("chat:x", StreamPosition(1, first.epoch))
    assert result.recovered
    a.broker.lose_live = lambda message: False
    await b.publish("chat:x", "last")
    await eventually(lambda: victim.values == ["in between", "later", "last"])


async def test_another_epoch_is_not_recovered(a):
    top = await a.publish("chat:x", 0)
    for epoch in ("_", "other"):
        _, result = await a.subscribe("chat:x", StreamPosition(top.offset, epoch))
        assert result.was_recovering and not result.recovered


async def test_an_empty_epoch_from_the_beginning_recovers_what_was_never_evicted(a):
    for i in range(3):
        await a.publish("chat:x", i)
    _, result = await a.subscribe("chat:x", StreamPosition(0, ""))
    assert result.recovered and len(result.publications) == 3


async def test_a_client_may_ask_for_an_error_instead(a):
    top = await a.publish("chat:x", 0)
    subscriber = FakeSubscriber()
    with pytest.raises(Rejected) as raised:
        await a.node.subscribe(subscriber, attach_request("chat:x", StreamPosition(top.offset, "other"), reject=True))
    assert raised.value.error == codes.UNRECOVERABLE_POSITION
    await a.publish("chat:x", 1)
    witness, _ = await a.subscribe("chat:x")
    await a.publish("chat:x", 2)
    await eventually(lambda: witness.values[-1:] == [2])
    assert subscriber.pushes == [], "no subscription was made"


async def test_a_long_absence_is_recovered_over_many_reads(a, b):
    position = await a.publish("news:x", "first")
    for i in range(1500):
        await a.publish("news:x", i)
    talk = await connected(b)
    result = await talk.subscribe("news:x", recover=True, offset=position.offset, epoch=position.epoch)
    assert result["recovered"] and len(result["publications"]) < 1500
    await eventually(lambda: talk.values("news:x") == list(range(1500)))


async def test_after_unsubscribe_nothing_more_comes(a):
    stays, _ = await a.subscribe("chat:x")
    leaves, _ = await a.subscribe("chat:x")
    a.node.unsubscribe(leaves, "chat:x")
    await a.publish("chat:x", 1)
    await eventually(lambda: stays.values == [1])
    assert leaves.values == []


async def test_while_the_broker_is_away_subscribing_and_publishing_fail_and_work_again_after(a):
    a.broker.go_away()
    for call in (a.subscribe("chat:x"), a.publish("chat:x", 1), a.publish("live:x", 1)):
        with pytest.raises(BrokerAway):
            await call
    a.broker.come_back()
    subscriber, _ = await a.subscribe("chat:x")
    await a.publish("chat:x", 2)
    await eventually(lambda: subscriber.values == [2])
    assert a.tally.publishes_failed == {"away": 2}


async def test_publishes_that_fail_are_counted_by_cause(a):
    for channel in ("chat:x", "live:x"):
        with pytest.raises(BrokerRefused):
            await a.publish(channel, "x" * MAX_PUBLICATION_BYTES)

    assert a.tally.publishes_failed == {"too_large": 2} and a.tally.publishes == 0


async def test_a_publish_that_ends_with_its_edge_is_no_timeout(a, monkeypatch):
    begun = asyncio.Event()

    async def hang(*args: object) -> None:
        begun.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(a.broker, "publish", hang)
    publishing = asyncio.create_task(a.publish("chat:x", 1))
    await begun.wait()
    publishing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await publishing
    assert not a.tally.publishes_failed


async def test_history_is_read_in_both_directions(a):
    positions = [await a.publish("chat:x", i) for i in range(6)]
    top = positions[-1]

    async def history(limit: int, since: StreamPosition | None = None, reverse: bool = False) -> list[int]:
        found = await a.node.history.read("chat:x", rules_of("chat:x"), limit, since, reverse)
        assert found.top == top
        return [int(bytes(p.data)) for p in found.publications]

    assert await history(0) == []
    assert await history(100) == [0, 1, 2, 3, 4, 5]
    assert await history(2) == [0, 1]
    assert await history(2, positions[2]) == [3, 4]
    assert await history(100, reverse=True) == [5, 4, 3, 2, 1, 0]
    assert await history(2, positions[3], reverse=True) == [2, 1]
    wrong_epoch = StreamPosition(positions[0].offset, "other")
    with pytest.raises(Rejected) as raised:
        await a.node.history.read("chat:x", rules_of("chat:x"), 1, wrong_epoch, False)
    assert raised.value.error == codes.UNRECOVERABLE_POSITION
