"""The series of history, capacity and forecast have values."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from services.chassis.metrics.page import PageCollector
from services.metrics.plan_catalog import PLAN_SERIES
from services.metrics.plan_exposition import PlanMetrics
from services.metrics.recorder import Recorder
from tests.metrics.capacity.edges import minute

Values = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def exposed(metrics: PlanMetrics) -> Values:
    registry = CollectorRegistry()
    registry.register(PageCollector(PLAN_SERIES, metrics.fill))
    families = text_string_to_metric_families(generate_latest(registry).decode())
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


def test_the_history_says_whether_it_is_there_and_what_waits():
    recorder = Recorder(lambda: 0)
    recorder.add([minute(1), minute(1, edge="edge-2")])
    values = exposed(PlanMetrics(recorder))
    assert values["fairlead_cluster_history_available", ()] == 0
    assert values["fairlead_cluster_history_waiting", ()] == 2
    assert exposed(PlanMetrics(None))["fairlead_cluster_history_available", ()] == 0
