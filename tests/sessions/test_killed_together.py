"""An edge dies and the service dies with it: sessions go on as one, and lost connections ended when the edge did."""

from __future__ import annotations

import time
from collections.abc import Iterable
from datetime import datetime
from typing import Any

import asyncpg
import pytest

from proto.events import Closed, Opened
from tests.sessions.edge_double import EdgeDouble
from tests.sessions.running import ask, metric, sessions_of, start
from tests.support.eventually import eventually
from tests.support.processes import ServiceProcess, Services
from tests.support.servers import NatsServer, Postgres

pytestmark = pytest.mark.integration

CLIENTS = 30
HEARTBEAT_MS = 1_000


def now_ms() -> int:
    return int(time.time() * 1000)


def opened(prefix: str, numbers: Iterable[int], at: int | None = None) -> list[Opened]:
    return [Opened(at=at or now_ms(), connection=f"{prefix}{one}", user=f"user-{one}") for one in numbers]


async def expect_open(service: ServiceProcess, edge: str, connections: int) -> None:
    found = await sessions_of(service, limit=1000)
    assert len(found) == CLIENTS, f"{len(found)} sessions"
    assert {(one["edge"], one["state"], one["connection_count"]) for one in found} == {(edge, "open", connections)}


async def heard(postgres: Postgres, instance: str) -> bool:
    """Whether the last heartbeat of a running edge is kept: not older than the pause between two."""
    database = await asyncpg.connect(postgres.url)
    try:
        fresh = "SELECT heard_at > now() - interval '1200 ms' FROM heard_edges WHERE instance = $1"
        return bool(await database.fetchval(fresh, instance))
    finally:
        await database.close()


async def ended_ms(service: ServiceProcess, connection: str) -> int:
    detail = await ask(service, f"/sessions/{connection}")
    (found,) = [one for one in detail["connections"] if one["id"] == connection]
    assert (found["close_code"], found["close_reason"]) == (1006, "edge lost")
    return int(datetime.fromisoformat(found["closed_at"]).timestamp() * 1000)


@pytest.mark.parametrize("at_once", [True, False], ids=["at once", "when its clients are back"])
async def test_sessions_of_an_edge_go_on_when_the_service_dies_with_it(
    services: Services, nats_server: NatsServer, postgres: Postgres, at_once: bool
) -> None:
    service = await start(services, nats_server, postgres).ready()
    async with EdgeDouble(nats_server.url, "dead") as dead, EdgeDouble(nats_server.url, "alive", "edge-2") as alive:
        await dead.write(*opened("a", range(CLIENTS)))
        await eventually(lambda: expect_open(service, "edge-1", 1))
        await eventually(lambda: heard(postgres, "dead"))
        dead.die()
        killed_ms = now_ms()
        if at_once:
            service.kill9()
        for number in range(CLIENTS):
            await alive.write(*opened("b", [number], at=now_ms() + number))
        if not at_once:
            await eventually(lambda: more_than(service, CLIENTS))
            service.kill9()
        service.start()
        await service.ready()
        await eventually(lambda: expect_open(service, "edge-2", 2), within_s=20)
    for number in range(CLIENTS):
        assert killed_ms - 2 * HEARTBEAT_MS <= await ended_ms(service, f"a{number}") <= killed_ms + 50
    assert await metric(service, "fairlead_sessions_edge_lost_total") == 1


async def more_than(service: ServiceProcess, count: int) -> bool:
    return len(await sessions_of(service, limit=1000)) > count


async def test_facts_that_arrive_late_join_the_sessions_that_they_belong_to(
    services: Services, nats_server: NatsServer, postgres: Postgres
) -> None:
    """Of the new edge: openings after the loss is written. Of the dead one: closes, and openings nobody knew of."""
    service = await start(services, nats_server, postgres).ready()
    known, unknown = range(20), range(20, CLIENTS)
    async with EdgeDouble(nats_server.url, "dead") as dead, EdgeDouble(nats_server.url, "alive", "edge-2") as alive:
        opened_ms = now_ms()
        await dead.write(*opened("a", known, opened_ms))
        await eventually(lambda: heard(postgres, "dead"))
        dead.die()
        died_ms = now_ms()
        await alive.write(*opened("b", unknown, died_ms + 300))

        async def lost() -> None:
            assert len(await sessions_of(service, state="away", limit=1000)) == len(known)

        await eventually(lost, within_s=20)
        await alive.write(*opened("b", known, died_ms + 300))
        closed = [Closed(at=died_ms - 50, connection=f"a{one}", code=1011, reason="broken") for one in range(10)]
        await dead.write(*closed, *opened("a", unknown, died_ms - 100))
        await eventually(lambda: expect_open(service, "edge-2", 2), within_s=20)

    async def first(connection: str) -> dict[str, Any]:
        detail = await ask(service, f"/sessions/{connection}")
        return next(dict(one) for one in detail["connections"] if one["id"] == connection)

    assert (await first("a0"))["close_reason"] == "broken", "its own word replaces the guess"
    assert await ended_ms(service, f"a{CLIENTS - 1}") == max(opened_ms, died_ms - 50), "with the edge's last fact"
