"""The service keeps what it hears, whichever instance does, and goes on without PostgreSQL. Its clock runs fast."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import asyncpg
import httpx
import nats
import pytest

from proto import subjects
from services.chassis.nats.settings import NatsSettings
from services.metrics.app import Metrics
from services.metrics.settings import MetricsSection, MetricsSettings, PostgresSection
from tests.sessions.edge_double import EdgeDouble
from tests.sessions.running import metric
from tests.support.eventually import eventually
from tests.support.processes import Services
from tests.support.servers import NatsServer, Postgres

pytestmark = pytest.mark.integration

SPEED = 60.0
"""A second of the test is a minute of the service."""


def fast() -> float:
    return 1_790_000_000 + (time.monotonic() % 100_000) * SPEED


@asynccontextmanager
async def running(nats_server: NatsServer, url: str, name: str = "metrics-1") -> AsyncIterator[Any]:
    settings = MetricsSettings(
        nats=NatsSettings(url=nats_server.url), postgres=PostgresSection(url=url), metrics=MetricsSection(name=name)
    )
    app = Metrics(settings, fast).application()
    async with app.router.lifespan_context(app):
        yield app


async def value(app: Any, name: str) -> float:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://metrics") as http:
        text = (await http.get("/metrics")).text
    (line,) = [line for line in text.splitlines() if line.startswith(name + " ")]
    return float(line.rpartition(" ")[2])


async def kept(postgres: Postgres) -> dict[str, int]:
    """How many minutes each edge has, and in how many versions at most."""
    database = await asyncpg.connect(postgres.url)
    try:
        rows = await database.fetch("SELECT edge, count(*) FROM metrics_minutes GROUP BY edge")
        doubled = await database.fetchval("SELECT count(*) - count(DISTINCT (minute, edge)) FROM metrics_minutes")
    finally:
        await database.close()
    assert doubled == 0
    return {edge: count for edge, count in rows}


async def test_two_instances_keep_one_history_and_each_can_go(nats_server: NatsServer, postgres: Postgres):
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(EdgeDouble(nats_server.url, "i1", "edge-1"))
        await stack.enter_async_context(EdgeDouble(nats_server.url, "i2", "edge-2"))
        async with running(nats_server, postgres.url) as one:
            two = await stack.enter_async_context(running(nats_server, postgres.url, "metrics-2"))

            async def both_write() -> None:
                assert await value(one, "fairlead_cluster_history_written_total") > 0
                assert await value(two, "fairlead_cluster_history_written_total") > 0

            await eventually(both_write, within_s=20)

            async def both_edges_are_kept() -> dict[str, int]:
                found = await kept(postgres)
                assert set(found) == {"", "edge-1", "edge-2"}
                return found

            before = await eventually(both_edges_are_kept, within_s=20)  # one may have been heard a minute later

        async def goes_on() -> None:
            assert (await kept(postgres))["edge-1"] >= before["edge-1"] + 2

        await eventually(goes_on, within_s=20)


async def test_without_postgresql_it_answers_and_says_so(nats_server: NatsServer):
    async with EdgeDouble(nats_server.url, "i1"), running(nats_server, "") as app:

        async def heard() -> None:
            assert await value(app, "fairlead_cluster_edges") == 1

        await eventually(heard)
        assert await value(app, "fairlead_cluster_history_available") == 0


async def test_what_it_heard_while_postgresql_was_away_comes_later(nats_server: NatsServer, postgres: Postgres):
    postgres.stop()
    async with EdgeDouble(nats_server.url, "i1"), running(nats_server, postgres.url) as app:

        async def waits() -> None:
            assert await value(app, "fairlead_cluster_history_waiting") >= 4

        await eventually(waits, within_s=20)
        assert await value(app, "fairlead_cluster_history_available") == 0
        postgres.start()

        async def written() -> None:
            assert await value(app, "fairlead_cluster_history_written_total") >= 4
            assert await value(app, "fairlead_cluster_history_available") == 1

        await eventually(written, within_s=20)


async def test_capacity_and_forecast_are_answered_over_http_and_nats(nats_server: NatsServer, postgres: Postgres):
    async with EdgeDouble(nats_server.url, "i1"), running(nats_server, postgres.url) as app:

        async def of_a_minute() -> None:
            assert (await get(app, "/capacity"))["problem"] is None

        await eventually(of_a_minute, within_s=20)
        link = await nats.connect(nats_server.url)
        try:
            said = json.loads((await link.request(subjects.PLAN_CAPACITY, b"", timeout=5)).data)
            foreseen = json.loads((await link.request(subjects.PLAN_FORECAST, b"", timeout=5)).data)
        finally:
            await link.close()
        assert [one["edge"] for one in said["edges"]] == ["edge-1"]
        assert said["recommended_edges"] == 2  # one for the load, one spare
        assert said["headroom"] > 0
        assert (foreseen["hours"], foreseen["recommended_edges"]) == ([], 2)
        assert foreseen["problem"]  # there is no full hour yet, or no forecast yet
        assert await value(app, "fairlead_cluster_recommended_edges") == 2
        assert await value(app, "fairlead_cluster_forecast_available") == 0


async def get(app: Any, path: str) -> dict[str, Any]:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://metrics") as http:
        answer = await http.get(path)
    assert answer.status_code == 200
    return dict(answer.json())


async def test_the_process_finds_its_tables_made_and_stops_in_order(
    services: Services, nats_server: NatsServer, postgres: Postgres
):
    """As `make up` and compose start it, beside a sessions service that has tables of its own in the database."""
    variables = {"FAIRLEAD_NATS_URL": nats_server.url, "FAIRLEAD_POSTGRES_URL": postgres.url}
    service = await services.start("metrics", variables).ready()

    async def available() -> None:
        assert await metric(service, "fairlead_cluster_history_available") == 1

    await eventually(available, within_s=20)
    assert await service.stop() == 0
