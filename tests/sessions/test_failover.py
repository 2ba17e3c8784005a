"""A real failover: the primary is killed, and a standby that had not received the last commits is promoted.

The position is in the database, beside the rows: a standby that lacks the last rows lacks the last positions too, and
the service folds from there. What it held in memory is of a database that is gone.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator

import pytest

from proto.events import Closed, Opened, SessionEvent, Subscribed
from tests.sessions.edge_double import EdgeDouble
from tests.sessions.running import API_KEY, metric, request, sessions_of
from tests.support.eventually import eventually
from tests.support.plain_http import http_client
from tests.support.processes import ServiceProcess, Services
from tests.support.servers import DATABASE_USER, NatsServer
from tests.support.servers_native import NativePostgres
from tests.support.standby import Standby

pytestmark = [pytest.mark.integration, pytest.mark.once]


@pytest.fixture
def primary() -> Iterator[NativePostgres]:
    server = NativePostgres()
    server.start()
    yield server
    server.close()


@pytest.fixture
async def standby(primary: NativePostgres) -> AsyncIterator[Standby]:
    server = Standby(primary)
    try:
        server.start()
        yield server
    finally:
        server.close()


def opened(connection: str) -> list[SessionEvent]:
    now = int(time.time() * 1000)
    return [
        Opened(at=now, connection=connection, user=connection),
        Subscribed(at=now, connection=connection, channel="news"),
    ]


async def test_what_the_promoted_standby_had_not_received_is_folded_again(
    services: Services, nats_server: NatsServer, primary: NativePostgres, standby: Standby
):
    servers = f"127.0.0.1:{primary.port},127.0.0.1:{standby.port}"
    url = f"postgresql://{DATABASE_USER}@{servers}/postgres"
    variables = {"NATS_URL": nats_server.url, "POSTGRES_URL": url, "HTTP_API_KEY": API_KEY}
    service = services.start("sessions", {f"FAIRLEAD_{name}": value for name, value in variables.items()})
    await service.ready()
    async with EdgeDouble(nats_server.url, "i1") as edge:
        await edge.write(*opened("stays"), *opened("leaves"))
        await eventually(lambda: are_folded(service, {"stays", "leaves"}))
        await eventually(lambda: standby_has(standby, 2))
        await standby.fall_behind()
        await eventually(lambda: is_cut_off(standby))
        now = int(time.time() * 1000)
        await edge.write(*opened("lost"), Closed(at=now, connection="leaves", code=1000))
        await eventually(lambda: are_folded(service, {"stays", "leaves", "lost"}))
        assert await standby.sessions() == 2, "the last commit is only in the primary"
        primary.kill9()
        await edge.write(*opened("meanwhile"), Closed(at=now + 1, connection="lost", code=3503))
        await eventually(lambda: unready(service, "no server of postgres.url takes writes now: promote one"))
        await standby.promote()
        await eventually(lambda: are_folded(service, {"stays", "leaves", "lost", "meanwhile"}))
        await service.ready()
        ends = {each["user"]: each["end_code"] for each in await sessions_of(service)}
        assert ends == {"stays": None, "leaves": 1000, "lost": 3503, "meanwhile": None}
    assert await metric(service, "fairlead_sessions_dead_letters_total") == 0
    verified = await service.command("verify")
    assert verified.returncode == 0, verified.stdout + verified.stderr
    assert await service.stop() == 0


async def are_folded(service: ServiceProcess, users: set[str]) -> None:
    answer = await request(service, "/sessions")
    assert answer.status_code == 200, answer.text
    assert {each["user"] for each in answer.json()["sessions"]} == users


async def standby_has(standby: Standby, sessions: int) -> None:
    assert await standby.sessions() == sessions


async def is_cut_off(standby: Standby) -> None:
    assert not await standby.receives()


async def unready(service: ServiceProcess, because: str) -> None:
    async with http_client() as http:
        answer = await http.get(f"{service.url}/readyz", timeout=5)
    assert answer.status_code == 503
    assert because in answer.text, answer.text
