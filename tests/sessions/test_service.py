"""The running service, with real NATS and PostgreSQL, either of which may be away."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable

import nats
import pytest

from proto.events import Closed, Opened, Subscribed
from tests.sessions.database import read_rows
from tests.sessions.edge_double import EdgeDouble
from tests.sessions.running import API_KEY, ask, metric, request, sessions_of, start, variables
from tests.support.eventually import eventually
from tests.support.plain_http import http_client
from tests.support.processes import ServiceProcess, Services
from tests.support.servers import DATABASE_PASSWORD, NatsServer, Postgres

pytestmark = pytest.mark.integration


def now_ms() -> int:
    return int(time.time() * 1000)


def ann(connection: str, at: int | None = None) -> Opened:
    return Opened(at=at or now_ms(), connection=connection, user="ann", client_name="js", client_version="1")


async def readiness(service: ServiceProcess) -> tuple[int, str]:
    async with http_client() as http:
        answer = await http.get(f"{service.url}/readyz", timeout=5)
    return answer.status_code, answer.text


async def expect_sessions(service: ServiceProcess, count: int, **query: str) -> list[dict[str, object]]:
    async def there() -> list[dict[str, object]]:
        found = await sessions_of(service, limit=1000, **query)
        assert len(found) == count, found[:3]
        return found or [{}]

    return await eventually(there, within_s=20)


async def test_a_session_goes_on_across_two_edges_and_ends(
    services: Services, nats_server: NatsServer, postgres: Postgres
):
    service = await start(services, nats_server, postgres).ready()
    async with EdgeDouble(nats_server.url, "i1") as one, EdgeDouble(nats_server.url, "i2", "edge-2") as two:
        await one.write(ann("c1"), Subscribed(at=now_ms(), connection="c1", channel="news"))
        await expect_sessions(service, 1, state="open", edge="edge-1")
        await one.write(Closed(at=now_ms(), connection="c1", code=1001, reason="shutdown"))
        (away,) = await expect_sessions(service, 1, state="away")
        assert (away["end_code"], away["end_reason"], away["edge"]) == (1001, "shutdown", "edge-1")
        await two.write(ann("c2"), Subscribed(at=now_ms(), connection="c2", channel="news", recovered=True))
        (back,) = await expect_sessions(service, 1, state="open", edge="edge-2", user="ann")
        assert (back["id"], back["connection"], back["connection_count"], back["ended_at"]) == ("c1", "c2", 2, None)
        await two.write(Closed(at=now_ms(), connection="c2", code=1000, reason="bye"))
        await expect_sessions(service, 1, state="ended")
    detail = await ask(service, "/sessions/c2")  # by the id of a later connection, too
    assert detail["id"] == "c1"
    assert [one["id"] for one in detail["connections"]] == ["c2", "c1"]
    by_connection = {one["connection"]: one for one in detail["subscriptions"]}
    assert by_connection["c2"]["recovered"] is True
    assert by_connection["c1"]["until"] == detail["connections"][1]["closed_at"]
    assert await metric(service, "fairlead_sessions_resumed_total") == 1
    assert await metric(service, "fairlead_sessions_interrupted_total") >= 1
    assert await service.stop() == 0
    assert DATABASE_PASSWORD not in service.log()


async def test_postgres_away_and_nats_away_are_said_and_waited_for(
    services: Services, nats_server: NatsServer, postgres: Postgres
):
    service = await start(services, nats_server, postgres).ready()
    async with EdgeDouble(nats_server.url, "i1") as edge:
        await edge.write(ann("c1"))
        await expect_sessions(service, 1)
        postgres.stop()

        async def unready(because: str) -> None:
            status, text = await readiness(service)
            assert status == 503
            assert because in text

        await eventually(lambda: unready("PostgreSQL"))
        assert (await request(service, "/sessions")).status_code == 503
        await edge.write(Closed(at=now_ms(), connection="c1", code=1000))
        await edge.write(ann("c2"))
        postgres.start()
        await expect_sessions(service, 2)
        await service.ready()
        nats_server.stop()
        await eventually(lambda: unready("NATS"))
        assert len(await sessions_of(service)) == 2, "questions are answered without NATS"
        nats_server.start()
        await service.ready()
        await eventually(lambda: edge.write(ann("c3")))
        await expect_sessions(service, 3)
    assert service.exit_code is None


@pytest.mark.parametrize("service", ["sessions", "metrics"])
async def test_it_stops_in_order_while_it_still_waits_for_everything(
    services: Services, nats_server: NatsServer, postgres: Postgres, service: str
):
    nats_server.stop()
    postgres.stop()
    environ = variables(nats_server, postgres) if service == "sessions" else {"FAIRLEAD_NATS_URL": nats_server.url}
    process = services.start(service, environ)

    async def alive() -> None:
        assert (await readiness(process))[0] == 503

    await eventually(alive)
    assert await process.stop() == 0


async def test_wild_paths_are_answered_not_tripped_over(
    services: Services, nats_server: NatsServer, postgres: Postgres
):
    service = await start(services, nats_server, postgres).ready()
    for path in (
        b"/sessions/%ff",
        b"/users/%ff/sessions",
        b"/sessions?cursor=%ff%fe",
        b"/users/%ED%A0%80/sessions",
        b"/%",
    ):
        reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
        writer.write(
            b"GET %s HTTP/1.1\r\nHost: x\r\nX-API-Key: %s\r\nConnection: close\r\n\r\n" % (path, API_KEY.encode())
        )
        status = int((await reader.readline()).split()[1])
        writer.close()
        await writer.wait_closed()
        assert status in (200, 400, 404), path
    refused = await request(service, "/sessions", {"X-API-Key": b"caf\xe9"})
    assert refused.status_code == 401


async def test_it_starts_first_and_waits_for_everything(
    services: Services, nats_server: NatsServer, postgres: Postgres
):
    nats_server.stop()
    postgres.stop()
    service = start(services, nats_server, postgres)

    async def alive_but_not_ready() -> None:
        assert (await readiness(service))[0] == 503

    await eventually(alive_but_not_ready)
    nats_server.start()
    await eventually(alive_but_not_ready)
    postgres.start()
    await service.ready()


@pytest.mark.parametrize("kills", [4])
async def test_kill_9_at_any_moment_neither_loses_nor_doubles(
    services: Services, nats_server: NatsServer, postgres: Postgres, kills: int
):
    service = await start(services, nats_server, postgres).ready()
    async with EdgeDouble(nats_server.url, "i1") as edge:
        for round_ in range(kills):
            for number in range(40):
                names = [f"c{round_}-{number}-{n}" for n in range(50)]
                await edge.write(*(Opened(at=now_ms(), connection=name, user=name) for name in names))
                await edge.write(*(Closed(at=now_ms(), connection=name, code=1000) for name in names[::2]))
            service.kill9()
            service.start()
        await service.ready()

        async def all_there() -> None:
            state = await read_rows(postgres.url)
            assert len(state.sessions) == len(state.connections) == kills * 40 * 50

        await eventually(all_there, within_s=30)
        await eventually(lambda: metric_is(service, "fairlead_sessions_lag_batches", 0))
    state = await read_rows(postgres.url)
    assert sum(one.ended_at is None for one in state.sessions.values()) == kills * 40 * 25
    assert all(one.connections == 1 for one in state.sessions.values())


async def metric_is(service: ServiceProcess, name: str, value: float) -> None:
    assert await metric(service, name) == value


async def test_a_log_made_anew_is_noticed_and_read_from_its_beginning(
    services: Services, nats_server: NatsServer, postgres: Postgres
):
    service = await start(services, nats_server, postgres).ready()
    async with EdgeDouble(nats_server.url, "i1") as edge:
        for number in range(5):
            last = await edge.write(ann(f"c{number}"))
        await expect_sessions(service, 5)
        await edge.delete_log()
        edge.number = last.number - 1  # the last batch again: its edge never saw the ack
        await edge.write(*last.events)
        await edge.write(ann("c5"))
        await expect_sessions(service, 6)
        await eventually(lambda: metric_is(service, "fairlead_sessions_log_recreated_total", 1))
        await eventually(lambda: metric_is(service, "fairlead_sessions_duplicate_batches_total", 1))
    assert "the session log was recreated" in service.log()


async def test_what_the_log_dropped_before_it_was_folded_is_said_and_counted(
    services: Services, nats_server: NatsServer, postgres: Postgres
):
    service = await start(services, nats_server, postgres).ready()
    async with EdgeDouble(nats_server.url, "i1") as edge:
        await edge.write(ann("c1"))
        await expect_sessions(service, 1)
        assert await service.stop() == 0
        await edge.write(Closed(at=now_ms(), connection="c1", code=1000))
        await edge.write(ann("c2"))
        await edge.purge(keep=1)
        service.start()
        await expect_sessions(service, 2, state="open")
        assert await metric(service, "fairlead_sessions_overtaken_total") == 1
        assert "the session log lacks messages that were not folded: 1, between 2 and 2." in service.log()


async def test_two_instances_share_the_work_without_harm(
    services: Services, nats_server: NatsServer, postgres: Postgres
):
    pair = [await start(services, nats_server, postgres).ready() for _ in range(2)]
    async with EdgeDouble(nats_server.url, "i1") as edge:
        for number in range(150):
            await edge.write(*(Opened(at=now_ms(), connection=f"c{number}-{n}", user="ann") for n in range(5)))
    await expect_sessions(pair[0], 750)
    assert sum([await metric(one, "fairlead_sessions_events_applied_total") for one in pair]) == 750
    assert await metric(pair[0], "fairlead_sessions_duplicate_batches_total") == 0


async def test_another_instance_takes_over_when_the_one_that_folds_is_killed(
    services: Services, nats_server: NatsServer, postgres: Postgres
):
    pair = [await start(services, nats_server, postgres).ready() for _ in range(2)]
    async with EdgeDouble(nats_server.url, "i1") as edge:
        written = 0

        async def write_until(done: Callable[[], bool]) -> None:
            nonlocal written
            async with asyncio.timeout(20):
                while not done():
                    await edge.write(*(Opened(at=now_ms(), connection=f"c{written}-{n}", user="ann") for n in range(5)))
                    written += 1

        await write_until(lambda: any("another instance of this service folds" in one.log() for one in pair))
        standing_by, folding = sorted(pair, key=lambda one: "another instance" not in one.log())
        until = written + 20
        await write_until(lambda: written >= until)
        folding.kill9()
        await write_until(lambda: "taking over from message" in standing_by.log())
        await expect_all(postgres.url, written * 5)
        assert await metric(standing_by, "fairlead_sessions_events_applied_total") > 0
        assert await metric(standing_by, "fairlead_sessions_duplicate_batches_total") == 0
        assert (await readiness(standing_by))[0] == 200


async def expect_all(url: str, connections: int) -> None:
    async def there() -> None:
        assert len((await read_rows(url)).connections) == connections

    await eventually(there, within_s=20)


@pytest.mark.parametrize("busy", [False, True], ids=["quiet", "others busy"])
async def test_an_edge_that_falls_silent_is_lost_and_found_again(
    services: Services, nats_server: NatsServer, postgres: Postgres, busy: bool
):
    service = await start(services, nats_server, postgres).ready()
    async with (
        EdgeDouble(nats_server.url, "silent", silent=True) as silent,
        EdgeDouble(nats_server.url, "loud", "edge-2", silent=True) as loud,
        EdgeDouble(nats_server.url, "drained", "edge-3", silent=True) as drained,
    ):
        await silent.beat()
        await silent.write(ann("c1"))
        await loud.write(Opened(at=now_ms(), connection="c2", user="bob"))
        await drained.write(
            Opened(at=now_ms(), connection="c3", user="eve"), Closed(at=now_ms(), connection="c3", code=1001)
        )

        async def lost() -> None:
            await loud.beat()
            if busy:  # with each look there is a fact that is not in PostgreSQL yet
                await loud.write(Subscribed(at=now_ms(), connection="c2", channel="x"))
            (row,) = await sessions_of(service, user="ann")
            assert (row["state"], row["end_code"], row["end_reason"]) == ("away", 1006, "edge lost")

        await eventually(lost, within_s=20)
        (line,) = [line for line in service.log().splitlines() if "is lost: it has been silent for " in line]
        assert " WARNING " in line and line.endswith(" edge=edge-1 instance=silent")
        (bob,) = await sessions_of(service, user="bob")
        assert bob["state"] == "open"
        (eve,) = await sessions_of(service, user="eve")
        assert eve["end_code"] == 1001
        assert await metric(service, "fairlead_sessions_edge_lost_total") == 1

        async def found() -> None:
            await silent.beat()
            await loud.beat()
            (row,) = await sessions_of(service, user="ann")
            assert (row["state"], row["end_code"], row["ended_at"]) == ("open", None, None)

        await eventually(found, within_s=20)
    assert await metric(service, "fairlead_sessions_edge_lost_total") == 1
    answer = (await ask(service, "/edges"))["edges"]
    runs = {one["instance"]: one for one in answer}
    assert {name: one["times_hung"] for name, one in runs.items()} == {"silent": 1, "loud": 0, "drained": 0}
    assert runs["silent"]["hung_at"] < runs["silent"]["found_at"] and runs["silent"]["state"] == "running"
    caller = await nats.connect(nats_server.url)
    assert json.loads((await caller.request("rd.edges", b"", timeout=10)).data)["edges"] == answer
    await caller.close()
    printed = await service.command("edges")
    (line,) = [line for line in printed.stdout.splitlines() if " silent " in line]
    assert "running, hung from " in line and line.count(" hung ") == printed.stdout.count(" hung "), printed.stdout


async def test_rubbish_in_the_log_is_left_out_and_a_newer_log_is_waited_for(
    services: Services, nats_server: NatsServer, postgres: Postgres
):
    service = await start(services, nats_server, postgres).ready()
    async with EdgeDouble(nats_server.url, "i1") as edge:
        for number, rubbish in enumerate((b"", b"\xff", b"[]", b'{"edge":1}', b"[" * 5000)):
            await edge.store(rubbish, f"rubbish-{number}")
        await edge.write(ann("c1"))
        await expect_sessions(service, 1)
        assert await metric(service, "fairlead_sessions_dead_letters_total") == 5
        await edge.store(b'{"version":2,"edge":"e","instance":"x","number":1,"events":[{"type":"teleported"}]}', "new")
        await edge.write(ann("c2"))

        async def waits() -> None:
            assert (
                "message 7 of the session log is of a newer version (it has version 2" in (await readiness(service))[1]
            )

        await eventually(waits)
        assert len(await sessions_of(service)) == 1, "nothing behind it is applied out of order"
        await edge.remove(7)  # what an operator does with one that nobody understands
        await expect_sessions(service, 2)
        await service.ready()


async def test_a_setting_that_is_missing_or_wrong_stops_the_start(services: Services, nats_server: NatsServer):
    for given, expected in (
        ({}, "postgres.url is missing; set it there or as FAIRLEAD_POSTGRES_URL"),
        ({"FAIRLEAD_POSTGRES_URL": "mysql://x"}, "postgres.url to begin with postgresql://"),
        ({"FAIRLEAD_POSTGRES_URL": "postgresql://x", "FAIRLEAD_SESSIONS_RESUME_WINDOW": "soon"}, "expected a duration"),
    ):
        service = services.start("sessions", given)
        assert await service.wait() == 1
        assert expected in service.log()
