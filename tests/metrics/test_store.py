"""What the series say about JetStream's store."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry

from services.chassis.metrics.page import PageCollector
from services.metrics.store import STORE_SERIES, Store, StoreMetrics, Stream


def exposed(metrics: StoreMetrics) -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(PageCollector(STORE_SERIES, metrics.fill))
    return registry


def test_a_store_that_does_not_answer_has_no_figures():
    metrics = StoreMetrics()
    assert exposed(metrics).get_sample_value("fairlead_cluster_store_answers") == 0
    metrics.seen(Store(100, 1000, [Stream("A", 60, 500, 3)]))
    assert exposed(metrics).get_sample_value("fairlead_cluster_stream_bytes", {"stream": "A"}) == 60
    metrics.seen(None)
    assert exposed(metrics).get_sample_value("fairlead_cluster_store_answers") == 0
    assert exposed(metrics).get_sample_value("fairlead_cluster_stream_bytes", {"stream": "A"}) is None


@pytest.mark.parametrize(
    ("limit", "streams", "room"),
    [
        (1000, [Stream("A", 1, 500, 1)], 1000),
        (None, [Stream("A", 1, 500, 1), Stream("B", 1, 300, 1)], 800),
        (None, [Stream("A", 1, 500, 1, replicas=3)], 1500),
        (None, [Stream("A", 1, 500, 1), Stream("B", 1, None, 1)], None),
        (None, [], None),
    ],
)
def test_what_may_be_stored_is_the_limit_of_the_account_or_what_the_streams_may_take(limit, streams, room):
    metrics = StoreMetrics()
    metrics.seen(Store(2, limit, streams))
    assert exposed(metrics).get_sample_value("fairlead_cluster_store_limit_bytes") == room
