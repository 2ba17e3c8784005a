"""Several webhooks of one process: they do not wait for each other, and a reload changes one of them alone."""

from __future__ import annotations

import threading
import time

import pytest

from proto.events import Closed, Opened, Subscribed
from proto.signature import HEADER, is_signed
from tests.sessions.edge_double import EdgeDouble
from tests.sessions.running import metric_of, sessions_of, start
from tests.sessions.webhooks.receiver import SECRET, Receiver, toml
from tests.support.eventually import eventually
from tests.support.plain_http import http_client
from tests.support.processes import ServiceProcess, Services
from tests.support.servers import NatsServer, Postgres

pytestmark = [pytest.mark.integration, pytest.mark.once]

NEW_SECRET = "the-next-secret-of-the-tests"


async def begun(service: ServiceProcess, *names: str) -> None:
    def all_follow() -> bool:
        return all(f"webhook {name} follows the session log" in service.log() for name in names)

    await eventually(all_follow)


async def ready_says(service: ServiceProcess) -> str:
    async with http_client() as http:
        return (await http.get(f"{service.url}/readyz")).text


def opened(connection: str) -> Opened:
    return Opened(at=int(time.time() * 1000), connection=connection, user=connection)


async def test_a_receiver_that_hangs_holds_up_neither_another_one_nor_the_tables(
    services: Services, nats_server: NatsServer, postgres: Postgres
):
    let_go = threading.Event()

    def hang(events: object) -> int:
        let_go.wait(60)
        return 204

    with Receiver(hang) as slow, Receiver() as quick:
        config = toml(slow.url, "slow", timeout="60s") + toml(quick.url, "quick")
        service = await start(services, nats_server, postgres, toml=config).ready()
        await begun(service, "slow", "quick")
        async with EdgeDouble(nats_server.url, "i1") as edge:
            await edge.write(opened("c0"))
            await eventually(lambda: len(slow.requests) == 1)
            for number in range(1, 6):
                await edge.write(opened(f"c{number}"))
            await eventually(lambda: quick.of("c5") == ["connected"])

            async def all_folded() -> None:
                assert len(await sessions_of(service)) == 6

            await eventually(all_folded)
            assert len(slow.requests) == 1 and slow.events == [], "one request at a time"
            let_go.set()
            await eventually(lambda: slow.of("c5") == ["connected"])
    assert [one["connection"] for one in slow.events] == [f"c{number}" for number in range(6)]


async def test_a_reload_exchanges_the_secret_and_nothing_is_lost_or_refused_meanwhile(
    services: Services, nats_server: NatsServer, postgres: Postgres
):
    with Receiver() as app, Receiver() as other:
        rest = toml(other.url, "other")
        service = await start(services, nats_server, postgres, toml=toml(app.url) + rest).ready()
        await begun(service, "app", "other")
        async with EdgeDouble(nats_server.url, "i1") as edge:
            for number in range(10):
                await edge.write(opened(f"c{number}"))
            await eventually(lambda: app.of("c0") == ["connected"])
            said = await service.reload(toml(app.url, secret=NEW_SECRET) + rest)
            assert said == "reloaded: sessions.webhooks"
            for number in range(10, 20):
                await edge.write(opened(f"c{number}"))
            await eventually(lambda: app.of("c19") == other.of("c19") == ["connected"])
            assert service.log().count("webhook app follows") == 2
            assert service.log().count("webhook other follows") == 1, "it went on as it was"

            assert await service.reload(toml(other.url, "added")) == "reloaded: sessions.webhooks"
            await begun(service, "added")
            before = len(app.requests)
            await edge.write(opened("c20"))
            await eventually(lambda: other.of("c20") == ["connected"])
            assert len(app.requests) == before, "it is gone"
        assert await metric_of(service, "fairlead_webhooks_age_seconds", webhook="app") == 0
        said = await service.reload(toml("ftp://x"))
        assert "reload refused" in said and "expected url to be an address" in said
    first = {one["id"]: one["connection"] for one in app.events}
    assert list(first.values()) == [f"c{number}" for number in range(20)]
    signed = [
        [is_signed([secret], headers[HEADER], body, time.time()) for secret in (SECRET, NEW_SECRET)]
        for headers, body in app.requests
    ]
    assert signed == sorted(signed, reverse=True) and signed[0] == [True, False] and signed[-1] == [False, True]
    assert NEW_SECRET not in service.log()


async def test_a_receiver_that_refuses_everything_is_given_pauses_and_readyz_says_so(
    services: Services, nats_server: NatsServer, postgres: Postgres
):
    with Receiver(lambda events: 400) as app:
        service = await start(services, nats_server, postgres, toml=toml(app.url, max_events=1)).ready()
        await begun(service, "app")
        async with EdgeDouble(nats_server.url, "i1") as edge:
            await edge.write(*(opened(f"c{number}") for number in range(6)))
            await eventually(lambda: len({body for _, body in app.requests}) == 3, within_s=30)
            assert "ready, except for webhook app, whose receiver does not take events: status 400" in await ready_says(
                service
            )
            app.answer = lambda events: 204
            await eventually(lambda: app.of("c5") == ["connected"], within_s=30)
            assert await ready_says(service) == "ready\n"
        (line,) = [one for one in service.log().splitlines() if "were set aside" in one]
        assert "1 events for webhook app were set aside: status 400" in line, "not a line for each"
        app.answer = lambda events: 503
        before = len(app.requests)
        done = await service.command("webhook-dead-letters", "replay", "all")
        assert done.returncode == 1 and len(app.requests) == before + 1, "the others are not tried"
        assert "1: still set aside: status 503\n2: still set aside: not tried" in done.stdout
        app.answer = lambda events: 204
        assert (await service.command("webhook-dead-letters", "replay", "all")).returncode == 0
        assert await metric_of(service, "fairlead_webhooks_dead_letters_total", webhook="app") >= 2
    assert {one["connection"] for one in app.events} == {f"c{number}" for number in range(6)}, "all came in the end"


async def test_a_channel_is_occupied_by_all_edges_together_also_after_a_crash_of_the_service_and_of_an_edge(
    services: Services, nats_server: NatsServer, postgres: Postgres
):
    def channels() -> list[str]:
        first = {one["id"]: one for one in app.events if one["type"] in ("occupied", "vacated")}
        return [f"{one['type']} {one['channel']}" for one in first.values()]

    def joins(connection: str, *names: str) -> list[Opened | Subscribed]:
        at = int(time.time() * 1000)
        return [opened(connection), *(Subscribed(at=at, connection=connection, channel=name) for name in names)]

    with Receiver() as app:
        config = toml(app.url)
        one = await start(services, nats_server, postgres, toml=config).ready()
        await begun(one, "app")
        other = await start(services, nats_server, postgres, toml=config).ready()
        async with EdgeDouble(nats_server.url, "i1") as first, EdgeDouble(nats_server.url, "i2", "edge-2") as second:
            await first.write(*joins("c1", "news", "tea"))
            await second.write(*joins("c2", "news"))
            await eventually(lambda: app.of("c2") == ["connected", "subscribed"])
            one.kill9()
            await begun(other, "app")
            await first.write(Closed(at=int(time.time() * 1000), connection="c1", code=1000))
            await eventually(lambda: "disconnected" in app.of("c1"), within_s=20)
            assert channels() == ["occupied news", "occupied tea", "vacated tea"]
            second.die()
            await eventually(lambda: app.of("c2")[-1] == "disconnected", within_s=30)
    assert channels() == ["occupied news", "occupied tea", "vacated tea", "vacated news"]
