"""The series of history, capacity and forecast have the values of the planner."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from services.chassis.metrics.page import PageCollector
from services.metrics.plan_catalog import PLAN_SERIES
from services.metrics.plan_exposition import PlanMetrics
from services.metrics.planner import Planner
from services.metrics.recorder import Recorder
from tests.metrics.capacity.edges import minute
from tests.metrics.forecasting.predictions import answer
from tests.metrics.test_planner import T0, busy, planner

Values = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def exposed(planner: Planner, recorder: Recorder | None = None, now: float = T0 + 3600) -> Values:
    registry = CollectorRegistry()
    registry.register(PageCollector(PLAN_SERIES, PlanMetrics(planner, recorder, lambda: now).fill))
    families = text_string_to_metric_families(generate_latest(registry).decode())
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


def test_the_history_says_whether_it_is_there_and_what_waits():
    recorder = Recorder(lambda: 0)
    recorder.add([minute(1), minute(1, edge="edge-2")])
    values = exposed(planner(), recorder)
    assert values["fairlead_cluster_history_available", ()] == 0
    assert values["fairlead_cluster_history_waiting", ()] == 2
    assert exposed(planner())["fairlead_cluster_history_available", ()] == 0


def test_every_series_has_a_value_once_there_is_a_forecast():
    made = busy()
    made.forecasted(answer(T0 + 3600, [1.0] * 100), None)
    values = exposed(made)
    names = {name.removesuffix("_total") for name, _ in values}
    # Nothing runs out with two edges and a demand of at most 1.5.
    assert set(PLAN_SERIES) - names == {"fairlead_cluster_forecast_exhaustion_seconds"}
    assert values["fairlead_cluster_recommended_edges", ()] == 1
    assert values["fairlead_cluster_capacity_binding", (("resource", "cpu"),)] == 1
    assert values["fairlead_cluster_capacity_edge_used_ratio", (("edge", "edge-0"), ("resource", "cpu"))] < 1
    assert values["fairlead_cluster_forecast_available", ()] == 1


def test_it_says_when_and_how_likely_capacity_runs_out():
    made = busy()
    made.forecasted(answer(T0 + 3600, [1.0, 1.0, 5.0, *[1.0] * 50]), None)
    values = exposed(made, now=T0 + 3600 + 600)
    assert values["fairlead_cluster_forecast_exhaustion_seconds", (("chance", "50%"),)] == 2 * 3600 - 600
    assert values["fairlead_cluster_forecast_exhaustion_ratio", (("within", "1h"),)] == 0
    assert values["fairlead_cluster_forecast_exhaustion_ratio", (("within", "6h"),)] == 1
    assert values["fairlead_cluster_forecast_edges", (("bound", "expected"), ("within", "6h"))] == pytest.approx(5)
    assert values["fairlead_cluster_forecast_recommended_edges", (("within", "24h"),)] == 7


def test_what_is_not_known_has_no_value():
    values = exposed(planner())
    names = {name for name, _ in values}
    assert "fairlead_cluster_recommended_edges" not in names
    settled = ("levels", "max_edges")
    assert not [name for name in names if name.startswith("fairlead_cluster_capacity_") and not name.endswith(settled)]
    assert values["fairlead_cluster_forecast_available", ()] == 0
