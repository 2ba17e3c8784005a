"""The paths that load balancers and Prometheus ask for."""

from __future__ import annotations

import httpx
from prometheus_client import CollectorRegistry, Counter
from starlette.applications import Starlette

from services.chassis.http.health import health_routes


class Process:
    """A process whose readiness the test decides."""

    def __init__(self) -> None:
        self.why: str | None = None
        self.registry = CollectorRegistry()
        Counter("greetings", "Greetings said.", registry=self.registry).inc(3)
        routes = health_routes(lambda: self.why, self.registry)
        transport = httpx.ASGITransport(app=Starlette(routes=routes))
        self.client = httpx.AsyncClient(transport=transport, base_url="http://process")


async def test_ready_and_not() -> None:
    process = Process()
    async with process.client as client:
        assert (await client.get("/readyz")).status_code == 200
        process.why = "NATS is unavailable"
        refused = await client.get("/readyz")
        assert refused.status_code == 503
        assert "NATS is unavailable" in refused.text
        process.why = None
        assert (await client.get("/readyz")).status_code == 200


async def test_a_process_that_is_not_ready_is_alive() -> None:
    process = Process()
    process.why = "draining"
    async with process.client as client:
        assert (await client.get("/livez")).status_code == 200


async def test_metrics_are_prometheus_text() -> None:
    async with Process().client as client:
        response = await client.get("/metrics")
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/plain")
    assert "greetings_total 3.0" in response.text
