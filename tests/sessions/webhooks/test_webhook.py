"""Webhooks of the running service: what a backend gets, whatever ends."""

from __future__ import annotations

import contextlib
import sys
import time

import pytest

from proto.events import Closed, EdgeLost, Opened, SessionEvent, Subscribed
from proto.signature import HEADER, is_signed
from services.chassis.postgres.pool import Pool
from tests.sessions.edge_double import EdgeDouble
from tests.sessions.running import metric_of, start
from tests.sessions.test_with_edges import client, edge
from tests.sessions.webhooks.receiver import SECRET, Event, Receiver, toml
from tests.support.eventually import eventually
from tests.support.plain_http import http_client
from tests.support.processes import ServiceProcess, Services
from tests.support.servers import NatsServer, Postgres

pytestmark = [pytest.mark.integration, pytest.mark.once]


def now_ms() -> int:
    return int(time.time() * 1000)


def life(connection: str, user: str = "ann", *channels: str) -> list[SessionEvent]:
    return [
        Opened(at=now_ms(), connection=connection, user=user),
        *(Subscribed(at=now_ms(), connection=connection, channel=channel) for channel in channels),
    ]


def end(connection: str) -> Closed:
    return Closed(at=now_ms(), connection=connection, code=1000, reason="bye")


async def has_delivered(postgres: Postgres, upto: int) -> bool:
    """Whether the webhook remembers that it has delivered all up to this message of the log."""
    async with Pool(postgres.url, 1) as pool, pool.database() as database:
        return bool(await database.fetchval("SELECT sequence = $1 FROM webhooks", upto))


async def remembers(postgres: Postgres, *connections: str) -> bool:
    """Whether webhooks remember these connections, and no other."""
    async with Pool(postgres.url, 1) as pool, pool.database() as database:
        rows = await database.fetch("SELECT DISTINCT connection FROM webhook_connections ORDER BY 1")
    return [row[0] for row in rows] == list(connections)


async def begun(service: ServiceProcess, name: str = "app") -> None:
    """The webhook follows the log: what is written from now on is sent."""
    await eventually(lambda: f"webhook {name} follows the session log" in service.log())


async def is_shown(service: ServiceProcess, line: str) -> bool:
    async with http_client() as http:
        return line in (await http.get(f"{service.url}/metrics")).text.splitlines()


async def run(services: Services, nats_server: NatsServer, postgres: Postgres, config: str) -> ServiceProcess:
    service = await start(services, nats_server, postgres, toml=config).ready()
    await begun(service)
    return service


async def test_a_backend_gets_signed_events_of_the_types_that_it_wants(
    services: Services, nats_server: NatsServer, postgres: Postgres
):
    with Receiver() as app, Receiver() as billing:
        config = toml(app.url) + toml(billing.url, "billing", events=["disconnected", "vacated"])
        async with EdgeDouble(nats_server.url, "i1") as edge:
            await edge.write(*life("before", "old", "news"))
            service = await run(services, nats_server, postgres, config)
            await begun(service, "billing")
            await edge.write(*life("c1", "ann", "news"), end("c1"))
            await edge.write(end("before"))
            await eventually(lambda: app.of("before") == ["unsubscribed", "disconnected"])
            await eventually(lambda: billing.of("before") == ["disconnected"])
    assert app.of("c1") == ["connected", "subscribed", "unsubscribed", "disconnected"]
    assert [one["type"] for one in app.events if one["type"] in ("occupied", "vacated")] == ["vacated"], (
        "the one from before is known, though nothing was said of it"
    )
    assert [one["type"] for one in billing.events] == ["disconnected", "vacated", "disconnected"]
    ended = billing.events[0]
    assert (ended["connection"], ended["user"], ended["code"], ended["reason"]) == ("c1", "ann", 1000, "bye")
    for headers, body in app.requests:
        assert is_signed([SECRET], headers[HEADER], body, time.time())
    assert await metric_of(service, "fairlead_webhooks_events_total", webhook="app") == len(app.events)
    assert SECRET not in service.log()


async def test_an_edge_killed_with_9_still_yields_its_clients_disconnected(
    services: Services, nats_server: NatsServer, postgres: Postgres
):
    with Receiver() as app:
        service = await run(services, nats_server, postgres, toml(app.url))
        real = await edge(services, nats_server, "edge-1").ready()
        async with contextlib.AsyncExitStack() as sockets:
            for number in range(5):
                sockets.push_async_callback((await client(real, f"user-{number}")).close)
            await eventually(lambda: sum(one["type"] == "subscribed" for one in app.events) == 5)
            real.kill9()
            killed = time.monotonic()
            await eventually(lambda: sum(one["type"] == "disconnected" for one in app.events) == 5, within_s=30)
            sys.stdout.write(f"disconnected {time.monotonic() - killed:.1f} s after the kill\n")
    assert any(one["type"] == "vacated" for one in app.events)
    ended = [one for one in app.events if one["type"] == "disconnected"]
    assert {(one["code"], one["reason"], one["edge"]) for one in ended} == {(1006, "edge lost", "edge-1")}
    assert sorted(one["user"] for one in ended) == [f"user-{number}" for number in range(5)]
    for one in ended:
        assert app.of(one["connection"]) == ["connected", "subscribed", "unsubscribed", "disconnected"]
    assert service.exit_code is None


async def test_an_event_that_is_refused_is_set_aside_and_replayed_by_an_operator(
    services: Services, nats_server: NatsServer, postgres: Postgres
):
    def refusing(events: list[Event]) -> int:
        return 422 if any(one.get("user") == "poison" for one in events) else 204

    with Receiver(refusing) as app:
        service = await run(services, nats_server, postgres, toml(app.url))
        async with EdgeDouble(nats_server.url, "i1") as edge:  # until the end: it is not lost, which would be told too
            await edge.write(*life("c1"), *life("c2", "poison"), *life("c3"), end("c3"))
            await edge.write(end("c1"))
            await eventually(lambda: app.of("c1") == ["connected", "disconnected"], within_s=20)
            assert app.of("c3") == ["connected", "disconnected"] and app.of("c2") == []
            await eventually(lambda: "1 events for webhook app were set aside: status 422" in service.log())
            assert await metric_of(service, "fairlead_webhooks_dead_letters_total", webhook="app") == 1

            async def letters(*arguments: str) -> tuple[int, str]:
                done = await service.command("webhook-dead-letters", *arguments)
                return done.returncode, str(done.stdout)

            code, listed = await letters()
            assert code == 0 and listed.splitlines()[1].split()[:2] == ["1", "app"] and "status 422" in listed
            code, shown = await letters("show", "1")
            assert code == 0 and '"user": "poison"' in shown
            assert await letters("replay", "all") == (1, "1: still set aside: status 422\n")
            app.answer = lambda events: 204
            assert await letters("replay", "1") == (0, "1: app took 1 events\n")
            assert app.of("c2") == ["connected"]
            assert await letters("list", "--json") == (0, "[]\n")
            assert (await letters("delete", "1"))[0] == 1
            assert await letters("delete", "all") == (0, "deleted 0\n")


async def test_a_receiver_that_is_away_gets_everything_later_or_in_a_letter_after_give_up_after(
    services: Services, nats_server: NatsServer, postgres: Postgres
):
    with Receiver(lambda events: 503) as patient, Receiver(lambda events: 503) as hasty:
        config = toml(patient.url) + toml(hasty.url, "hasty", give_up_after="100ms")
        service = await run(services, nats_server, postgres, config)
        await begun(service, "hasty")
        assert await is_shown(service, 'fairlead_webhooks_dead_letters_total{webhook="hasty"} 0.0'), "it can increase"
        async with EdgeDouble(nats_server.url, "i1") as edge:
            await edge.write(*life("c1"))
            await eventually(lambda: "events for webhook hasty were set aside: status 503" in service.log())
            assert await metric_of(service, "fairlead_webhooks_age_seconds", webhook="app") > 0
            hasty.answer = patient.answer = lambda events: 204
            await edge.write(*life("c2"))
            await eventually(lambda: patient.of("c1") == patient.of("c2") == ["connected"], within_s=20)
            await eventually(lambda: hasty.of("c2") == ["connected"])
            async with EdgeDouble(nats_server.url, "i8", "edge-8", silent=True) as gone:
                await gone.write(*life("c8"))
            async with EdgeDouble(nats_server.url, "watch-i8", silent=True) as watch:
                await watch.write(EdgeLost(at=1_000, instance="i8"))  # long before what the log keeps
            await eventually(lambda: patient.of("c8") == hasty.of("c8") == ["connected", "disconnected"])
            await eventually(lambda: remembers(postgres, "c1", "c2"))
    assert hasty.of("c1") == []
    sent = [body for _, body in patient.requests]
    assert sent[0] == sent[1], "the same request again"
    assert "webhook app does not take events, trying again: status 503" in service.log()
    assert "webhook app takes events again" in service.log()


async def test_one_of_two_processes_sends_and_the_other_takes_over(
    services: Services, nats_server: NatsServer, postgres: Postgres
):
    with Receiver() as app:
        one = await run(services, nats_server, postgres, toml(app.url))
        other = await start(services, nats_server, postgres, toml=toml(app.url)).ready()
        async with EdgeDouble(nats_server.url, "i1") as edge:
            for number in range(20):
                await edge.write(*life(f"c{number}"))
            await eventually(lambda: app.of("c19") == ["connected"])
            assert len(app.events) == 20, "one of them sends"
            one.kill9()
            await edge.write(end("c0"))
            await eventually(lambda: app.of("c0") == ["connected", "disconnected"], within_s=20)
    assert len({event["id"] for event in app.events}) == 21, "what was in flight came again, with the same ids"
    assert await metric_of(other, "fairlead_webhooks_events_total", webhook="app") >= 1


async def test_a_log_that_went_on_without_the_webhook_is_said_and_gone_on_from(
    services: Services, nats_server: NatsServer, postgres: Postgres
):
    with Receiver() as app:
        service = await run(services, nats_server, postgres, toml(app.url))
        async with EdgeDouble(nats_server.url, "i1") as edge:
            await edge.write(*life("c1", "ann", "news"))
            await eventually(lambda: app.of("c1") == ["connected", "subscribed"])
            await eventually(lambda: has_delivered(postgres, 1))  # else it delivers that again
            assert await service.stop() == 0
            await edge.write(end("c1"))
            await edge.write(*life("c2", "bob", "tea"))
            await edge.purge(keep=1)
            service.start()
            await eventually(lambda: "no longer has the 1 messages after 1, which were not delivered" in service.log())
            await edge.write(end("c2"))
            await eventually(lambda: app.of("c2") == ["unsubscribed", "disconnected"])
            assert await metric_of(service, "fairlead_webhooks_overtaken_total", webhook="app") == 1
            await edge.delete_log()
            await edge.write(*life("c3"))
            await eventually(lambda: app.of("c3") == ["connected"], within_s=20)
    assert "webhook app: the session log was recreated" in service.log()
