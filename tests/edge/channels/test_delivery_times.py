"""How long deliveries take: once for each publication and edge, from when it was accepted until it is written."""

from __future__ import annotations

import pytest
from msgspec import Raw

from proto.messages import Publication
from proto.trace_context import TraceContext
from services.chassis.metrics.histogram import Exemplar
from services.edge.channels.delivery import deliver
from services.edge.channels.delivery_times import DeliveryTimes
from services.edge.channels.subscribers import Subscribers
from tests.chassis.tracing.receiver_double import KeptSpans, tracer
from tests.edge.channels.test_subscribers import subscription
from tests.edge.talks import connected
from tests.support.cluster import EdgeCluster, FakeSubscriber, TestEdge
from tests.support.eventually import eventually
from tests.support.manual_pace import ManualPace


def delivered(edge: TestEdge, namespace: str) -> int:
    return edge.node.channels.delivery_times.histograms.of(namespace).count


async def test_a_publication_counts_once_on_each_edge_that_has_subscribers(a: TestEdge, b: TestEdge):
    for edge in (a, a, b):
        await (await connected(edge)).subscribe("chat:x")
    await a.publish("chat:x", 1)
    await eventually(lambda: (delivered(a, "chat"), delivered(b, "chat")) == (1, 1))
    await a.publish("live:nobody", 1)
    assert delivered(a, "live") == delivered(b, "live") == 0


async def test_a_publication_that_was_missed_live_counts_with_its_delay(a: TestEdge, cluster: EdgeCluster):
    talk = await connected(a)
    await talk.subscribe("chat:x")
    await a.publish_unheard("chat:x", 1)
    await a.publish("chat:x", 2)
    await eventually(lambda: talk.values("chat:x") == [1, 2])
    assert delivered(a, "chat") == 2


def test_the_time_is_that_of_the_last_write():
    now = 100.0
    times, pace = DeliveryTimes(lambda: now), ManualPace()
    subscribers = Subscribers("news", pace, times.of("news"))
    subscribers.fan_out(Publication(Raw(b"1")), None, 0, 99.5)
    assert times.histograms.of("news").count == 0, "it is not written yet"
    now = 101.0
    pace.end_turn()
    assert (times.histograms.of("news").count, times.histograms.of("news").sum) == (1, 1.5)


@pytest.mark.parametrize(("published_at", "seconds"), [(100.002, [0.0]), (0.0, [])])
def test_clocks_that_disagree_and_times_that_are_unknown(published_at: float, seconds: list[float]):
    times = DeliveryTimes(lambda: 100.0)
    times.of("news").written([published_at])
    histogram = times.histograms.of("news")
    assert (histogram.count, histogram.sum) == (len(seconds), sum(seconds))


def test_a_traced_publication_is_the_exemplar_of_its_bucket():
    kept, times, pace = KeptSpans(), DeliveryTimes(lambda: 100.0), ManualPace()
    subscribers = Subscribers("news", pace, times.of("news"))
    subscribers.add(FakeSubscriber(), subscription())
    first, cause = Publication(Raw(b"1")), TraceContext("a" * 32, "b" * 16)
    subscribers.fan_out(first, None, 0, 99.5, deliver(tracer(kept), cause, "news", first, 99.5))
    subscribers.fan_out(Publication(Raw(b"2")), None, 0, 98.0)
    pace.end_turn()
    named = [(bound, exemplar) for bound, _, exemplar in times.histograms.of("news").buckets() if exemplar]
    assert named == [(0.5, Exemplar(0.5, "a" * 32, 100.0))]


def test_an_exemplar_is_in_the_bucket_that_its_publication_counts_in_though_the_clock_goes_on():
    seconds = iter((100.0, 100.2))
    times = DeliveryTimes(lambda: next(seconds))
    times.of("news").written([99.94])
    times.of("news").traced(99.94, "a" * 32)
    ((bound, upto),) = [(bound, upto) for bound, upto, exemplar in times.histograms.of("news").buckets() if exemplar]
    assert (bound, upto) == (0.1, 1)
