"""The series of the cluster have the figures of the heartbeats."""

from __future__ import annotations

from msgspec.structs import replace
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from services.chassis.metrics.page import PageCollector
from services.metrics.aggregator import Aggregator
from services.metrics.catalog import CLUSTER_SERIES
from services.metrics.exposition import ClusterMetrics
from services.metrics.overview import overview
from tests.metrics.beats import edge, sessions


def busy() -> tuple[Aggregator, ClusterMetrics]:
    whole = Aggregator(lost_after_s=5, started=0)
    whole.heard(edge("a", connections=30, accepted=40, cpu_s=2.5), now=1)
    whole.heard(edge("b", "edge-2", connections=10, accepted=12, left=10), now=1)
    whole.heard(sessions("s", 8, lag=2), now=1)
    return whole, ClusterMetrics(whole, lambda: 2)


def exposed(metrics: ClusterMetrics) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    registry = CollectorRegistry()
    registry.register(PageCollector(CLUSTER_SERIES, metrics.fill))
    families = text_string_to_metric_families(generate_latest(registry).decode())
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


def test_every_series_of_the_catalogue_has_a_value():
    _, metrics = busy()
    names = {name.removesuffix("_total") for name, _ in exposed(metrics)}
    parts = {f"fairlead_cluster_drain_seconds_{part}" for part in ("bucket", "count", "sum")}
    assert names - parts == set(CLUSTER_SERIES) - {"fairlead_cluster_drain_seconds"}
    assert parts <= names


def test_a_drain_is_in_its_bucket_and_the_buckets_are_there_before_the_first_one():
    whole, metrics = busy()
    assert exposed(metrics)["fairlead_cluster_drain_seconds_count", ()] == 0
    whole.heard(replace(edge("b", "edge-2", left=0), leaving=True), now=12.5)
    values = exposed(metrics)
    assert values["fairlead_cluster_drain_seconds_count", ()] == 1
    assert values["fairlead_cluster_drain_seconds_bucket", (("le", "10.0"),)] == 0
    assert values["fairlead_cluster_drain_seconds_bucket", (("le", "15.0"),)] == 1


def test_the_figures_are_those_of_the_heartbeats():
    _, metrics = busy()
    values = exposed(metrics)
    assert values["fairlead_cluster_edges", ()] == 2
    assert values["fairlead_cluster_edges_draining", ()] == 1
    assert values["fairlead_cluster_connections", ()] == 40
    assert values["fairlead_cluster_drain_left", ()] == 10
    assert values["fairlead_cluster_accepted_total", ()] == 52
    assert values["fairlead_cluster_edge_connections", (("edge", "edge-2"),)] == 10
    assert values["fairlead_cluster_edge_bytes_out_total", (("edge", "edge-1"),)] == 4000
    assert values["fairlead_cluster_process_cpu_seconds_total", (("name", "edge-1"), ("service", "edge"))] == 2.5
    assert values["fairlead_cluster_sessions_lag_batches", ()] == 2
    assert values["fairlead_cluster_processes", (("service", "sessions"),)] == 1


def test_two_processes_of_one_name_are_one_edge():
    whole, metrics = busy()
    whole.heard(edge("a2", connections=5, accepted=5), now=2)
    values = exposed(metrics)
    assert values["fairlead_cluster_edge_connections", (("edge", "edge-1"),)] == 35
    assert values["fairlead_cluster_edge_accepted_total", (("edge", "edge-1"),)] == 45


def test_the_overview_says_the_same():
    whole, _ = busy()
    said = overview(whole.alive(2))
    assert (said["edges"], said["connections"], said["draining"], said["sessions_lag_batches"]) == (2, 40, 1, 2)
    assert [one["name"] for one in said["processes"]] == ["edge-1", "edge-2", "sessions-1"]
    assert overview([])["sessions_lag_batches"] is None
