"""What every process exposes about itself."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from prometheus_client.process_collector import ProcessCollector as Original
from starlette.applications import Starlette

from services.chassis.http.health import health_routes
from services.chassis.metrics.histogram import Exemplar
from services.chassis.metrics.loop_lag import LoopLag
from services.chassis.metrics.process import PROCESS_SERIES, ProcessMetrics


@dataclass
class Nats:
    is_connected: bool = True
    disconnects: int = 2
    permission_violations: int = 3


@dataclass
class Reloads:
    successful: bool = False
    succeeded_at: float = 1.7e9


@pytest.fixture
def lag() -> LoopLag:
    return LoopLag()


@pytest.fixture
def metrics(lag: LoopLag) -> ProcessMetrics:
    return ProcessMetrics("edge", "edge-1", "9f3a", "1.2.3", lag, Reloads(), Nats())


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="prometheus-client has them on Linux only")
def test_names_and_meanings_are_those_that_dashboards_know():
    theirs = {one.name: (one.type, one.documentation) for one in Original(registry=None).collect()}
    ours = {one.name: (one.kind, one.meaning) for one in PROCESS_SERIES.values() if one.name.startswith("process_")}
    assert ours == theirs


def test_the_figures_are_those_of_the_process(metrics):
    registry = metrics.registry()
    held = [os.open(os.devnull, os.O_RDONLY) for _ in range(50)]
    try:
        assert registry.get_sample_value("process_open_fds") >= 50
    finally:
        for descriptor in held:
            os.close(descriptor)
    assert registry.get_sample_value("process_cpu_seconds_total") > 0
    named = {"service": "edge", "name": "edge-1", "uid": "9f3a", "version": "1.2.3"}
    assert registry.get_sample_value("fairlead_process_info", named) == 1
    assert registry.get_sample_value("fairlead_process_nats_connected") == 1
    assert registry.get_sample_value("fairlead_process_config_last_reload_successful") == 0
    assert registry.get_sample_value("fairlead_process_config_last_reload_success_timestamp_seconds") == 1.7e9
    assert registry.get_sample_value("fairlead_process_nats_disconnects_total") == 2
    assert registry.get_sample_value("fairlead_process_nats_permission_violations_total") == 3


def test_a_process_without_nats_says_nothing_about_it(lag):
    registry = ProcessMetrics("edge", "edge-1", "9f3a", "1.2.3", lag, Reloads(), None).registry()
    assert registry.get_sample_value("fairlead_process_nats_connected") is None


async def test_who_asks_for_openmetrics_gets_exemplars(metrics, lag):
    lag.observe(0.3, 1.0)
    lag.histogram.attach(Exemplar(0.3, "0af7651916cd43dd8448eb211c80319c", 1.0))
    app = Starlette(routes=health_routes(lambda: None, metrics.registry()))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://process") as client:
        answer = await client.get("/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
        plain = await client.get("/metrics", headers={"Accept": "text/plain"})
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    exemplars = [
        sample.exemplar.labels
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
        if sample.exemplar
    ]
    assert exemplars == [{"trace_id": "0af7651916cd43dd8448eb211c80319c"}]
    assert plain.headers["content-type"].startswith("text/plain")
    assert "fairlead_process_loop_lag_seconds_bucket" in plain.text
    assert "trace_id" not in plain.text
