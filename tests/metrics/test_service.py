"""The running service, on real heartbeats."""

from __future__ import annotations

from functools import partial

import nats
import pytest

from proto import subjects
from tests.sessions.edge_double import EdgeDouble
from tests.sessions.running import metric
from tests.support.eventually import eventually
from tests.support.plain_http import http_client
from tests.support.processes import Services
from tests.support.servers import NatsServer

pytestmark = pytest.mark.integration


async def test_heartbeats_become_figures_and_silence_takes_them_away(services: Services, nats_server: NatsServer):
    service = await services.start("metrics", {"FAIRLEAD_NATS_URL": nats_server.url}).ready()
    double = partial(EdgeDouble, nats_server.url, silent=True)
    async with double("i1") as one, double("i2", "edge-2") as two:

        async def edges(expected: int) -> None:
            assert await metric(service, "fairlead_cluster_edges") == expected
            assert await metric(service, "fairlead_cluster_connections") == expected

        async def both() -> None:
            await one.beat()
            await two.beat()
            await edges(2)

        async def one_only() -> None:
            await one.beat()
            await edges(1)

        await eventually(both)
        await eventually(one_only, within_s=20)
    link = await nats.connect(nats_server.url)
    await link.publish(subjects.telemetry("edge", "x"), b"[" * 5000)
    await link.publish(subjects.telemetry("edge", "x"), b'{"service":"edge"}')
    await link.close()

    async def refused() -> None:
        assert await metric(service, "fairlead_cluster_heartbeats_rejected_total") == 2

    await eventually(refused)
    async with http_client(base_url=service.url) as http:
        said = (await http.get("/cluster")).json()
        assert [one["service"] for one in said["processes"]][-1] == "metrics"
        nats_server.stop()

        async def unready() -> None:
            answer = await http.get("/readyz")
            assert (answer.status_code, answer.text) == (503, "not ready: NATS: not connected\n")

        await eventually(unready)
        nats_server.start()
    await service.ready()
    assert await service.stop() == 0
