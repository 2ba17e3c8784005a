"""How late the projection is, seen from outside: above all while PostgreSQL is away."""

from __future__ import annotations

import time

import pytest

from proto.events import Closed, Opened
from tests.sessions.edge_double import EdgeDouble
from tests.sessions.running import metric, sessions_of, start
from tests.support.eventually import eventually
from tests.support.processes import ServiceProcess, Services
from tests.support.servers import NatsServer, Postgres

pytestmark = pytest.mark.integration


async def lateness(service: ServiceProcess) -> tuple[float, float]:
    """Batches that wait, and the age of the oldest in seconds."""
    batches = await metric(service, "fairlead_sessions_lag_batches")
    return batches, await metric(service, "fairlead_sessions_projection_age_seconds")


async def test_it_grows_while_postgres_is_away_and_is_gone_when_it_has_caught_up(
    services: Services, nats_server: NatsServer, postgres: Postgres
):
    service = await start(services, nats_server, postgres).ready()
    async with EdgeDouble(nats_server.url, "i1") as edge:
        await edge.write(Opened(at=int(time.time() * 1000), connection="c1", user="ann"))
        await eventually(lambda: sessions_of(service))

        async def on_time() -> None:
            assert await lateness(service) == (0, 0)

        await eventually(on_time)
        postgres.stop()
        began = time.monotonic()
        await edge.write(Closed(at=int(time.time() * 1000), connection="c1", code=1000))

        async def late() -> None:
            batches, age = await lateness(service)
            assert batches == 1
            assert 1 <= age <= time.monotonic() - began + 0.5

        await eventually(late)
        postgres.start()
        await eventually(on_time)


async def test_it_grows_from_the_start_while_postgres_was_never_there(
    services: Services, nats_server: NatsServer, postgres: Postgres
):
    postgres.stop()
    service = start(services, nats_server, postgres)

    async def late() -> None:
        assert (await lateness(service))[1] >= 1

    await eventually(late)
    postgres.start()

    async def on_time() -> None:
        assert await lateness(service) == (0, 0)

    await eventually(on_time)
