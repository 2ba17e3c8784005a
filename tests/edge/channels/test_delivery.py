"""A traced publication on each edge: one span, which names a few recipients and counts all."""

from __future__ import annotations

from proto.trace_context import TraceContext
from services.chassis.tracing.span import SERVER, working_in
from services.edge.channels.delivery import deliver
from services.edge.channels.subscribers import FEW, Subscribers
from tests.chassis.tracing.receiver_double import KeptSpans, tracer
from tests.edge.channels.test_subscribers import publication, subscription
from tests.edge.channels.test_subscribers_failing_write import Gone
from tests.edge.channels.test_subscribers_steps import room, run
from tests.support.cluster import EdgeCluster, FakeSubscriber, TestEdge, settled
from tests.support.manual_pace import ManualPace

CAUSE = TraceContext("a" * 32, "b" * 16)


async def edge(kept: KeptSpans, shared: EdgeCluster, recipients: int = 3) -> TestEdge:
    return await TestEdge(shared, tracer=tracer(kept, recipients=recipients)).start()


async def test_a_publish_and_a_delivery_for_each_edge_with_subscribers():
    kept, shared = KeptSpans(), EdgeCluster()
    a, b, c = [await edge(kept, shared) for _ in range(3)]
    for channel in ("chat:x", "live:x"):
        for one in (a, a, b):
            await one.subscribe(channel)
        root = tracer(kept).begin("api publish", SERVER, None, {})
        with working_in(root):
            await c.publish(channel, 1)
        await settled()
        publish = next(span for span in kept.spans if span.name == "publish")
        assert publish.parent == root.context and publish.attributes["messaging.destination.name"] == channel
        deliveries = [span for span in kept.spans if span.name == "deliver"]
        assert [span.parent for span in deliveries] == [publish.context] * 2
        assert sorted(len(span.events) for span in deliveries) == [1, 2]
        assert sorted(span.attributes["fairlead.subscribers"] for span in deliveries) == [1, 2]
        kept.spans.clear()


async def test_what_is_not_traced_makes_no_span():
    kept, shared = KeptSpans(), EdgeCluster()
    a, untraced = await edge(kept, shared), await TestEdge(shared).start()
    for channel in ("chat:x", "live:x"):
        subscriber, _ = await untraced.subscribe(channel)
        await a.subscribe(channel)
        await a.publish(channel, 1)
        with working_in(tracer(KeptSpans()).begin("x", SERVER, None, {})):
            await untraced.publish(channel, 2)
        await settled()
        assert subscriber.values == [1, 2]
    assert [span.attributes["messaging.destination.name"] for span in kept.spans] == ["chat:x", "live:x"]


async def test_a_message_that_waited_for_a_gap_to_be_filled_is_traced_as_well():
    kept, shared = KeptSpans(), EdgeCluster()
    a, b = await edge(kept, shared), await edge(kept, shared)
    subscriber, _ = await a.subscribe("chat:x")
    a.broker.lose_live = lambda message: message.publication is not None and bytes(message.publication.data) == b"1"
    await b.publish("chat:x", 1)
    with working_in(tracer(KeptSpans()).begin("x", SERVER, None, {})):
        await b.publish("chat:x", 2)
    await settled()
    assert subscriber.values == [1, 2]
    assert [span.attributes["fairlead.offset"] for span in kept.spans if span.name == "deliver"] == [2]


def test_of_many_subscribers_a_few_are_named_and_the_span_ends_with_the_last():
    kept, pace = KeptSpans(), ManualPace(steps=1)
    subscribers = Subscribers("news", pace)
    readers = [FakeSubscriber() for _ in range(10 * FEW)]
    for reader in readers:
        subscribers.add(reader, subscription())
    first = publication({"n": 1}, 7)
    subscribers.fan_out(first, None, 0, 0.0, deliver(tracer(kept), CAUSE, "news", first))
    subscribers.fan_out(publication({"n": 2}, 8), None)
    pace.end_turn()
    assert kept.spans == []
    for _ in readers:
        pace.end_turn()
    assert all(reader.offsets == [7, 8] for reader in readers)
    (span,) = kept.spans
    assert [event.name for event in span.events] == ["recipient"] * 3
    assert span.attributes["fairlead.subscribers"] == len(readers)


def test_no_recipient_is_named_where_the_setting_is_0():
    kept = KeptSpans()
    subscribers = Subscribers("news")
    subscribers.add(FakeSubscriber(), subscription())
    first = publication({"n": 1}, 7)
    subscribers.fan_out(first, None, 0, 0.0, deliver(tracer(kept, recipients=0), CAUSE, "news", first))
    assert [span.events for span in kept.spans] == [[]]


def test_who_has_left_meanwhile_is_not_named_and_disturbs_nobody(caplog):
    kept, (subscribers, pace, everybody) = KeptSpans(), room(96)
    left = everybody[-2][0]
    left.__class__ = Gone
    traced = deliver(tracer(kept, recipients=100), CAUSE, "news", publication(1))
    subscribers.fan_out(publication(1), None, delivery=traced)
    pace.end_turn()  # writes to the first ones, 32 with each step
    subscribers.remove(left)
    run(pace)
    (span,) = kept.spans
    assert len(span.events) == 95
    assert all(each.values == [1] and not each.closes for each, _ in everybody if each is not left)
    assert not caplog.records
