"""What an edge exposes about itself: every series of the catalogue, with the figures of its parts."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry

from services.chassis.metrics.page import Page, PageCollector
from services.edge.broker.in_flight import InFlight
from services.edge.connection.drain import Drain
from services.edge.instruments.catalog import EDGE_SERIES
from services.edge.instruments.exposition import EdgeMetrics
from services.edge.session_log import NoSessionLog
from services.edge.settings import EdgeSection
from tests.edge.talks import Talk, connected
from tests.support.cluster import TestEdge


@pytest.fixture
def metrics(a: TestEdge) -> EdgeMetrics:
    return EdgeMetrics(a.context, Drain(a.context, EdgeSection()), NoSessionLog(), InFlight(10, 0))


def value(metrics: EdgeMetrics, name: str, **labels: str) -> float | None:
    registry = CollectorRegistry()
    registry.register(PageCollector(EDGE_SERIES, metrics.fill))
    return registry.get_sample_value(name, labels)


async def test_every_series_without_labels_has_a_value_from_the_start(metrics: EdgeMetrics) -> None:
    page = Page(EDGE_SERIES)
    metrics.fill(page)
    silent = {one.name for one in page.families() if not one.samples}
    assert silent <= {name for name, one in EDGE_SERIES.items() if one.labels}


async def test_connections_and_their_ends_are_counted(a: TestEdge, metrics: EdgeMetrics) -> None:
    talk = await connected(a)
    assert value(metrics, "fairlead_edge_connections") == 1
    talk.connection.closed_by_peer(1000, "")
    talk.connection.lost()
    stranger = Talk(a)
    stranger.connection.closed_by_peer(4567, "")
    assert value(metrics, "fairlead_edge_connections") == 1
    assert value(metrics, "fairlead_edge_closes_total", code="1000") == 1
    assert value(metrics, "fairlead_edge_closes_total", code="other") == 1, "a client may send any code"
