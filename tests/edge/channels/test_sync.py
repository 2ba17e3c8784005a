"""Gaps, syncs, audits and new epochs: subscribers when live messages are lost or late."""

from __future__ import annotations

import asyncio
import random

import pytest

from proto import codes
from proto.messages import StreamPosition
from services.edge.broker.broker import BrokerAway, ChannelAddress
from services.edge.channels import channel_registry, sync
from tests.support.cluster import EdgeCluster, FakeSubscriber, TestEdge, attach_request
from tests.support.eventually import eventually


@pytest.fixture
def cluster() -> EdgeCluster:
    return EdgeCluster()


@pytest.fixture
async def a(cluster: EdgeCluster) -> TestEdge:
    return await TestEdge(cluster).start()


async def test_a_gap_in_the_middle_is_closed_from_the_log(a):
    subscriber, _ = await a.subscribe("chat:x")
    a.broker.lose_live = lambda message: message.sequence in (3, 4)
    for i in range(1, 7):
        await a.publish("chat:x", i)
    await eventually(lambda: subscriber.values == [1, 2, 3, 4, 5, 6])
    assert a.tally.gaps.total() == 1
    assert subscriber.ended == []


async def test_a_lost_last_message_is_found_by_the_audit(a):
    subscriber, _ = await a.subscribe("chat:x")
    await a.publish("chat:x", 1)
    a.broker.lose_live = lambda message: True
    await a.publish("chat:x", 2)
    await a.node.sync.audit()
    await eventually(lambda: subscriber.values == [1, 2])


async def test_publications_missed_while_the_broker_was_away_come_when_it_is_back(cluster, a):
    b = await TestEdge(cluster).start()
    subscribers = [(await a.subscribe(f"chat:{i}"))[0] for i in range(5)]
    a.broker.go_away()
    for i in range(5):
        for n in range(3):
            await b.publish(f"chat:{i}", n)
    a.broker.come_back()
    await eventually(lambda: all(subscriber.values == [0, 1, 2] for subscriber in subscribers))


async def test_publications_that_came_and_expired_while_the_broker_was_away_are_a_hole():
    now = 0.0
    cluster = EdgeCluster(lambda: now)
    a, b = await TestEdge(cluster).start(), await TestEdge(cluster).start()
    missing, _ = await a.subscribe("chat:missing")
    await a.publish("chat:missing", 1)
    await eventually(lambda: missing.values == [1])
    a.broker.go_away()
    await b.publish("chat:missing", 2)
    now = 4000.0
    a.broker.come_back()
    await eventually(lambda: missing.ended == [("chat:missing", codes.UNSUBSCRIBED_INSUFFICIENT_STATE)])
    _, result = await a.subscribe("chat:missing", StreamPosition(1, cluster.logs["chat"].epoch))
    assert result.was_recovering and not result.recovered


async def test_a_quiet_channel_survives_a_long_absence_of_the_broker(cluster, a):
    quiet, _ = await a.subscribe("chat:quiet")
    await a.publish("chat:quiet", 1)
    await eventually(lambda: quiet.values == [1])
    a.broker.go_away()
    a.broker.come_back()
    await a.publish("chat:quiet", 2)
    await eventually(lambda: quiet.values == [1, 2])
    assert quiet.ended == []


async def test_a_live_message_that_comes_before_the_audit_after_a_loss_hides_none():
    now = 0.0
    cluster = EdgeCluster(lambda: now)
    a, b = await TestEdge(cluster).start(), await TestEdge(cluster).start()
    missing, _ = await a.subscribe("chat:missing")
    await a.publish("chat:missing", 1)
    await eventually(lambda: missing.values == [1])
    a.broker.lose_live = lambda message: message.sequence == 2
    a.node.sync.broker_disconnected()
    a.broker.unheard = True
    await b.publish("chat:missing", 2)
    now = 4000.0  # it has expired, so the next one names no predecessor
    await b.publish("chat:missing", 3)
    channel = a.node.channels.get("chat:missing")
    assert channel is not None and channel.log is not None
    waiting = channel.log
    await eventually(lambda: waiting.gap)
    now = 8000.0
    a.node.sync.broker_connected()
    await eventually(lambda: missing.ended == [("chat:missing", codes.UNSUBSCRIBED_INSUFFICIENT_STATE)])
    assert missing.values == [1]


async def test_live_messages_that_waited_for_the_audit_are_delivered_in_order(cluster, a):
    b = await TestEdge(cluster).start()
    subscriber, _ = await a.subscribe("chat:x")
    a.node.sync.broker_disconnected()
    for i in range(3):
        await b.publish("chat:x", i)
    channel = a.node.channels.get("chat:x")
    assert channel is not None and channel.log is not None
    waiting = channel.log
    await eventually(lambda: waiting.gap)
    assert subscriber.values == []
    a.node.sync.broker_connected()
    await eventually(lambda: subscriber.values == [0, 1, 2])
    await b.publish("chat:x", 3)
    await eventually(lambda: subscriber.values == [0, 1, 2, 3])
    assert subscriber.ended == []


async def test_a_stream_that_is_silent_holds_back_no_channel_of_another(cluster, a, monkeypatch):
    monkeypatch.setattr(sync, "_SYNC_RETRY_S", 3600.0)
    b = await TestEdge(cluster).start()
    chat, news = (await a.subscribe("chat:x"))[0], (await a.subscribe("news:x"))[0]
    a.broker.go_away()
    await b.publish("chat:x", 1)
    a.broker.silent = {"news"}
    a.broker.come_back()
    await eventually(lambda: chat.values == [1])
    with pytest.raises(BrokerAway, match="1 channels"):
        await a.node.sync.audit()
    await b.publish("news:x", 1)
    await b.publish("chat:x", 2)
    await eventually(lambda: chat.values == [1, 2])
    assert news.values == [], "there may have been others before it"
    a.broker.silent = set()
    a.node.sync.logs_checked()
    await eventually(lambda: news.values == [1])
    await b.publish("news:x", 2)
    await eventually(lambda: news.values == [1, 2])


async def test_a_doubt_that_comes_during_an_audit_is_over_with_the_next_one(a, monkeypatch):
    subscriber, _ = await a.subscribe("chat:x")
    begun, may_end = 0, asyncio.Semaphore(0)
    audit = a.broker.audit

    async def gated(positions):
        nonlocal begun
        begun += 1
        found = await audit(positions)
        await may_end.acquire()
        return found

    monkeypatch.setattr(a.broker, "audit", gated)
    for _ in range(2):
        a.node.sync.logs_checked()
        await eventually(lambda: begun == 1)
    may_end.release()
    await eventually(lambda: begun == 2)
    await a.publish("chat:x", 1)
    channel = a.node.channels.get("chat:x")
    assert channel is not None and channel.log is not None
    waiting = channel.log
    await eventually(lambda: waiting.gap)
    assert subscriber.values == []
    may_end.release()
    await eventually(lambda: subscriber.values == [1])


async def test_syncs_of_all_channels_at_once_read_a_few_at_a_time(cluster, a):
    count = sync.SYNCS_AT_ONCE * 3
    b = await TestEdge(cluster).start()
    subscribers = [(await a.subscribe(f"chat:{i}"))[0] for i in range(count)]
    a.broker.lose_live = lambda message: True
    for i in range(count):
        await b.publish(f"chat:{i}", i)
    await a.node.sync.audit()
    await eventually(lambda: all(subscriber.values == [i] for i, subscriber in enumerate(subscribers)))
    assert 1 < a.broker.most_reading <= sync.SYNCS_AT_ONCE
    assert a.tally.syncs.total() == count


async def test_a_sync_waits_for_a_broker_that_leaves_again(a, monkeypatch):
    monkeypatch.setattr(sync, "_SYNC_RETRY_S", 0.001)
    subscriber, _ = await a.subscribe("chat:x")
    a.broker.lose_live = lambda message: message.sequence == 1
    await a.publish("chat:x", 1)
    await a.publish("chat:x", 2)
    await asyncio.sleep(0)
    a.broker.go_away()
    await asyncio.sleep(0)
    assert subscriber.values == []
    a.broker.come_back()
    await eventually(lambda: subscriber.values == [1, 2])


async def test_a_hole_sends_positioned_subscribers_back_and_lets_the_others_go_on(a):
    positioned, _ = await a.subscribe("chat:x")
    plain = FakeSubscriber(node=a.node)
    await a.node.subscribe(plain, attach_request("chat:x", positioned=False, recoverable=False))
    await a.publish("chat:x", 0)
    await eventually(lambda: positioned.values == plain.values == [0])
    a.broker.lose_live = lambda message: message.sequence < 30
    for i in range(1, 31):  # ten are kept: most of the missing ones are gone
        await a.publish("chat:x", i)
    await eventually(lambda: plain.values == [0, *range(21, 31)])
    assert positioned.values == [0]
    assert positioned.ended == [("chat:x", codes.UNSUBSCRIBED_INSUFFICIENT_STATE)]
    assert a.tally.holes.total() == 1
    # With its old position it is told of the hole, which the ring does not hide.
    _, result = await a.subscribe("chat:x", StreamPosition(1, a.broker.epoch(ChannelAddress("chat:x", "chat"))))
    assert result.was_recovering and not result.recovered


async def test_a_new_epoch_sends_every_subscriber_back(cluster, a):
    subscriber, before = await a.subscribe("chat:x")
    await a.publish("chat:x", 1)
    await eventually(lambda: subscriber.values == [1])
    cluster.make_anew("chat")
    await a.node.sync.audit()
    assert subscriber.ended == [("chat:x", codes.UNSUBSCRIBED_INSUFFICIENT_STATE)]
    again, result = await a.subscribe("chat:x", StreamPosition(1, before.epoch))
    assert result.was_recovering and not result.recovered and result.epoch != before.epoch
    await a.publish("chat:x", 2)
    await eventually(lambda: again.values == [2])


async def test_a_sync_that_meets_a_new_epoch_sends_everybody_back_once(cluster, a):
    subscriber, _ = await a.subscribe("chat:x")
    await a.publish("chat:x", 1)
    await eventually(lambda: subscriber.values == [1])
    a.broker.go_away()
    cluster.make_anew("chat")
    a.broker.come_back()
    await eventually(lambda: subscriber.ended == [("chat:x", codes.UNSUBSCRIBED_INSUFFICIENT_STATE)])
    again, _ = await a.subscribe("chat:x")
    await a.publish("chat:x", 2)
    await eventually(lambda: again.values == [2])
    assert a.node.channels.get("chat:x") is not None and a.tally.holes.total() == 0


async def test_unused_channels_are_closed_after_a_while_and_used_ones_are_not(a, monkeypatch):
    used, _ = await a.subscribe("chat:used")
    left, _ = await a.subscribe("chat:left")
    a.node.unsubscribe(left, "chat:left")
    a.node.channels.sweep()
    assert a.node.channels.get("chat:left") is not None, "it lingers for clients that come back"
    monkeypatch.setattr(channel_registry, "LINGER_S", -1.0)
    a.node.channels.sweep()
    assert a.node.channels.get("chat:left") is None and a.node.channels.get("chat:used") is not None
    await a.publish("chat:used", 1)
    await eventually(lambda: used.values == [1])


async def test_subscribers_come_and_go_while_messages_are_lost_and_nothing_is_lost_doubled_or_reordered(cluster, a):
    rng = random.Random(7)
    b = await TestEdge(cluster).start()
    for edge in (a, b):
        edge.broker.lose_live = lambda message: rng.random() < 0.4
    clients = [_Client(rng, f"news:{i % 4}", [a, b]) for i in range(12)]
    published = dict.fromkeys((f"news:{i}" for i in range(4)), 0)
    for client in clients:
        await client.come()
    for step in range(600):
        channel = f"news:{rng.randrange(4)}"
        await rng.choice([edge for edge in (a, b) if edge.broker.available]).publish(channel, published[channel])
        published[channel] += 1
        if rng.random() < 0.2:
            client = rng.choice(clients)
            await (client.leave() if client.subscriber else client.come())
        if step % 100 == 50:
            a.broker.go_away()
        if step % 100 == 60:
            a.broker.come_back()
    for edge in (a, b):
        edge.broker.lose_live = lambda message: False
    for client in clients:
        if not client.subscriber:
            await client.come()
    for edge in (a, b):
        await edge.node.sync.audit()
    await eventually(lambda: all(len(client.all()) == published[client.channel] for client in clients))
    for client in clients:
        assert client.all() == list(range(published[client.channel]))
    assert a.tally.gaps.total() > 5 and b.tally.gaps.total() > 5, "the faults were real"


class _Client:
    """A client as SDKs are: it keeps its position, and comes back with it on any edge that is there."""

    def __init__(self, rng: random.Random, channel: str, edges: list[TestEdge]) -> None:
        self._rng, self.channel, self._edges = rng, channel, edges
        self._edge = edges[0]
        self._position: StreamPosition | None = None
        self._kept: list[int] = []
        self.subscriber: FakeSubscriber | None = None

    async def come(self) -> None:
        self._edge = self._rng.choice([edge for edge in self._edges if edge.broker.available])
        recovering = self._position is not None
        self.subscriber, result = await self._edge.subscribe(self.channel, self._position)
        assert result.recovered == recovering
        self._kept += [int(bytes(p.data)) for p in result.publications]
        offset = result.publications[-1].offset if result.publications else result.offset
        self._position = StreamPosition(offset, result.epoch)

    async def leave(self) -> None:
        assert self.subscriber is not None and self._position is not None
        self._edge.node.unsubscribe(self.subscriber, self.channel)
        self._kept = self.all()
        if self.subscriber.offsets:
            self._position = StreamPosition(self.subscriber.offsets[-1], self._position.epoch)
        self.subscriber = None

    def all(self) -> list[int]:
        return self._kept + (self.subscriber.values if self.subscriber else [])
