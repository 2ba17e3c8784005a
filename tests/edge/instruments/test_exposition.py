"""What an edge exposes about itself: every series of the catalogue, with the figures of its parts."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry

from proto import codes
from services.chassis.metrics.page import Page, PageCollector
from services.edge.broker.broker_clock import BrokerClock
from services.edge.broker.in_flight import InFlight
from services.edge.connection.drain import Drain
from services.edge.connection.memory_guard import MemoryLimits
from services.edge.connection.memory_watch import MemoryWatch
from services.edge.edge_settings import EdgeSection
from services.edge.instruments.catalog import EDGE_SERIES
from services.edge.instruments.exposition import EdgeMetrics
from services.edge.instruments.failure_catalog import FAILURE_SERIES
from services.edge.session_log import NoSessionLog
from tests.edge.talks import Talk, connected
from tests.support.cluster import TestEdge
from tests.support.eventually import eventually


@pytest.fixture
def metrics(a: TestEdge) -> EdgeMetrics:
    clock = BrokerClock(lambda: 0.0, lambda: 1000.0)
    clock.answered(0.0, 0.002, 1000.5)
    memory = MemoryWatch(a.context, MemoryLimits(1000, 2000), lambda: 500, lambda: None, lambda: None)
    return EdgeMetrics(a.context, memory, Drain(a.context, EdgeSection()), NoSessionLog(), InFlight(10, 0), clock)


def value(metrics: EdgeMetrics, name: str, **labels: str) -> float | None:
    registry = CollectorRegistry()
    registry.register(PageCollector(EDGE_SERIES, metrics.fill))
    return registry.get_sample_value(name, labels)


async def test_every_series_without_labels_has_a_value_from_the_start(metrics: EdgeMetrics) -> None:
    page = Page(EDGE_SERIES)
    metrics.fill(page)
    silent = {one.name for one in page.families() if not one.samples}
    others = {one.name for one in FAILURE_SERIES}  # which `failures` puts there
    assert silent <= {name for name, one in EDGE_SERIES.items() if one.labels or name in others}


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


async def test_a_connect_is_timed_and_counted_by_library(a: TestEdge, metrics: EdgeMetrics) -> None:
    for name in ("js", "js", "my own client \u2603", ""):
        await Talk(a).connect(name=name)
    assert value(metrics, "fairlead_edge_connects_total", transport="websocket", library="js") == 2
    assert value(metrics, "fairlead_edge_connects_total", transport="websocket", library="other") == 2
    assert value(metrics, "fairlead_edge_connect_seconds_count", transport="websocket", library="js") == 2


async def test_subscribes_and_recoveries_are_timed(a: TestEdge, metrics: EdgeMetrics) -> None:
    position = await a.publish("chat:x", 1)
    await a.publish("chat:x", 2)
    talk = Talk(a)
    await talk.connect(name="python")
    await talk.subscribe("chat:x", recover=True, epoch=position.epoch, offset=position.offset)
    await talk.subscribe("chat:y")
    await talk.subscribe("chat:z", recover=True, epoch="gone", offset=1)
    assert value(metrics, "fairlead_edge_subscribe_seconds_count", namespace="chat") == 3
    assert value(metrics, "fairlead_edge_recoveries_total", namespace="chat", result="recovered") == 1
    assert value(metrics, "fairlead_edge_recoveries_total", namespace="chat", result="unrecovered") == 1
    assert value(metrics, "fairlead_edge_recovery_publications_sum", namespace="chat") == 1
    assert value(metrics, "fairlead_edge_recovery_seconds_count", namespace="chat") == 2
    client = {"transport": "websocket", "library": "python"}
    assert value(metrics, "fairlead_edge_recoveries_by_client_total", **client, result="recovered") == 1
    assert value(metrics, "fairlead_edge_recoveries_by_client_total", **client, result="unrecovered") == 1


async def test_recoveries_of_every_namespace_with_history_count_from_0(metrics: EdgeMetrics) -> None:
    for result in ("recovered", "unrecovered"):
        assert value(metrics, "fairlead_edge_recoveries_total", namespace="news", result=result) == 0
    assert value(metrics, "fairlead_edge_recovery_seconds_count", namespace="news") == 0
    assert value(metrics, "fairlead_edge_recoveries_total", namespace="live", result="recovered") is None


@pytest.mark.parametrize("namespace", ["_", "live", "news"])
async def test_every_namespace_is_timed_from_the_start(metrics: EdgeMetrics, namespace: str) -> None:
    for what in ("delivery", "subscribe"):
        assert value(metrics, f"fairlead_edge_{what}_seconds_count", namespace=namespace) == 0


async def test_a_namespace_after_many_others_is_timed_once_it_is_used(a: TestEdge, metrics: EdgeMetrics) -> None:
    assert value(metrics, "fairlead_edge_delivery_seconds_count", namespace="both") is None, "the page stays small"
    a.tally.timings.subscribe_seconds.of("both").observe(0.1)
    assert value(metrics, "fairlead_edge_subscribe_seconds_count", namespace="both") == 1


@pytest.mark.parametrize("client", [("websocket", "js"), ("sse", "js"), ("uni_sse", "other")])
async def test_the_first_client_is_an_increase(metrics: EdgeMetrics, client: tuple[str, str]) -> None:
    labels = dict(zip(("transport", "library"), client, strict=True))
    assert value(metrics, "fairlead_edge_connects_total", **labels) == 0
    assert value(metrics, "fairlead_edge_connect_seconds_count", **labels) == 0


async def test_error_codes_that_backends_choose_share_a_label(a: TestEdge, metrics: EdgeMetrics) -> None:
    assert value(metrics, "fairlead_edge_errors_total", code="100") == 0, "the first one is an increase"
    for code in (100, 1234, 1235):
        a.tally.errors[code] += 1
    assert value(metrics, "fairlead_edge_errors_total", code="100") == 1
    assert value(metrics, "fairlead_edge_errors_total", code="1234") is None
    assert value(metrics, "fairlead_edge_errors_total", code="other") == 2


async def test_a_client_that_comes_back_counts_once(a: TestEdge, metrics: EdgeMetrics) -> None:
    def reconnects() -> float | None:
        return value(metrics, "fairlead_edge_reconnects_total", transport="websocket", library="js")

    assert reconnects() == 0
    kept = {"recover": True, "epoch": (await a.publish("chat:x", 1)).epoch, "offset": 1}
    talk = Talk(a)
    await talk.connect(name="js")
    await talk.subscribe("chat:y")
    assert reconnects() == 0, "a new client"
    await talk.subscribe("chat:x", **kept)
    await talk.subscribe("news:x", **kept | {"epoch": "gone"})
    assert reconnects() == 1
    other = Talk(a)
    await other.connect(name="js")
    await other.subscribe("chat:x")
    other.connection.end_subscription("chat:x", codes.UNSUBSCRIBED_INSUFFICIENT_STATE)
    await other.subscribe("chat:x", **kept)
    assert reconnects() == 1, "it had been here all the time"


async def test_gaps_and_slow_clients_have_labels_and_0_from_the_start(a: TestEdge, metrics: EdgeMetrics) -> None:
    client = {"transport": "websocket", "library": "js"}
    for name in ("gaps", "holes", "syncs"):
        assert value(metrics, f"fairlead_edge_{name}_total", namespace="chat") == 0
    for name in ("lagged", "caught_up", "dropped"):
        assert value(metrics, f"fairlead_edge_{name}_total", **client) == 0
    talk = Talk(a)
    await talk.connect(name="js")
    await talk.subscribe("chat:x")
    await a.publish_unheard("chat:x", 1)
    await a.publish("chat:x", 2)
    await eventually(lambda: talk.values("chat:x") == [1, 2])
    talk.connection.pause_writing()
    talk.connection.resume_writing()
    await eventually(lambda: value(metrics, "fairlead_edge_caught_up_total", **client) == 1)
    assert value(metrics, "fairlead_edge_lagged_total", **client) == 1
    for name in ("gaps", "syncs"):
        assert value(metrics, f"fairlead_edge_{name}_total", namespace="chat") == 1


async def test_a_client_that_leaves_while_it_recovers_counts_for_its_namespace(
    a: TestEdge, metrics: EdgeMetrics
) -> None:
    await a.publish("chat:x", 1)
    talk = await connected(a)
    talk.say({"id": 9, "subscribe": {"channel": "chat:x", "recover": True, "epoch": "gone", "offset": 1}})
    talk.connection.lost()
    await eventually(lambda: a.tally.recoveries)
    assert value(metrics, "fairlead_edge_recoveries_total", namespace="chat", result="unrecovered") == 1
    assert not a.tally.recoveries_by_client


async def test_how_long_a_connection_lasted(a: TestEdge, metrics: EdgeMetrics) -> None:
    talk = await connected(a)
    a.clock.time += 100
    talk.connection.closed_by_peer(1000, "")
    assert value(metrics, "websocket_connection_duration_seconds_sum") == 100
    assert value(metrics, "websocket_connection_duration_seconds_bucket", le="300.0") == 1
    assert value(metrics, "websocket_connection_duration_seconds_bucket", le="60.0") == 0


async def test_deliveries_are_exposed_by_namespace(a: TestEdge, metrics: EdgeMetrics) -> None:
    talk = await connected(a)
    await talk.subscribe("chat:x")
    await a.publish("chat:x", 1)
    await eventually(lambda: value(metrics, "fairlead_edge_delivery_seconds_count", namespace="chat") == 1)


async def test_the_clock_of_nats_is_exposed_with_its_error(metrics: EdgeMetrics) -> None:
    offset, error = (value(metrics, f"fairlead_edge_clock_{what}_seconds") for what in ("offset", "error"))
    assert offset == pytest.approx(0.499)
    assert error == pytest.approx(0.001, rel=0.01)
