"""An erasure knows the webhooks by which the service runs now, also those that came or went with a reload."""

from __future__ import annotations

import threading

from proto.events import Closed, Opened
from tests.sessions.edge_double import EdgeDouble
from tests.sessions.privacy.test_calls_http import KEYS, call, ended
from tests.sessions.running import sessions_of, start
from tests.sessions.webhooks.receiver import Receiver, toml
from tests.sessions.webhooks.test_webhooks import begun
from tests.support.eventually import eventually
from tests.support.processes import Services
from tests.support.servers import NatsServer, Postgres


async def test_an_erasure_waits_for_a_webhook_that_was_added_and_for_none_that_was_removed(
    services: Services, nats_server: NatsServer, postgres: Postgres
) -> None:
    let_go = threading.Event()

    def hang(events: object) -> int:
        let_go.wait(60)
        return 204

    async def are_known(count: int) -> None:
        assert len(await sessions_of(service)) == count

    with Receiver(hang) as app:
        service = await start(services, nats_server, postgres, toml=KEYS).ready(60)
        assert await service.reload(KEYS + toml(app.url, timeout="60s")) == "reloaded: sessions.webhooks"
        await begun(service, "app")
        async with EdgeDouble(nats_server.url, "i1") as edge:
            await edge.write(Opened(1_000, "c0", "bob"))
            await eventually(lambda: len(app.requests) == 1)
            await edge.write(Opened(1_001, "c1", "ann"), Opened(1_002, "c2", "bob"), Closed(1_003, "c1", 1000))
            await eventually(lambda: are_known(3))
            begins = await call(service, "/privacy/erase", {"user": "ann"})

            async def waits() -> None:
                job = (await call(service, begins.headers["location"])).json()
                assert job["state"] == "running" and job["step"].startswith("waiting until all have read"), job

            await eventually(waits)
            let_go.set()
            await eventually(lambda: app.of("c2") == ["connected"])
            assert (await ended(service, {"user": "ann"}))["error"] is None

            let_go.clear()
            await edge.write(Opened(1_004, "c3", "bob"))
            await eventually(lambda: len(app.requests) == 3)
            await service.reload(KEYS)
            await edge.write(Opened(1_005, "c4", "cid"), Closed(1_006, "c4", 1000))
            await eventually(lambda: are_known(4))
            assert (await ended(service, {"user": "cid"}))["error"] is None, "what is gone reads no more"
