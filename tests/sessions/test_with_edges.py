"""The service with real edges: one drained, one killed, their clients back on another."""

from __future__ import annotations

import contextlib
import json
import time

import jwt
import pytest
from websockets.asyncio.client import ClientConnection, connect

from tests.sessions.running import metric, sessions_of, start
from tests.support.eventually import eventually
from tests.support.processes import ServiceProcess, Services
from tests.support.servers import NatsServer, Postgres

pytestmark = pytest.mark.integration

SECRET = "a-token-secret-of-the-tests-0123456789"
TOML = """
[channel.without_namespace]
allow_subscribe_for_client = true
"""


def edge(services: Services, nats_server: NatsServer, name: str) -> ServiceProcess:
    variables = {
        "FAIRLEAD_NATS_URL": nats_server.url,
        "FAIRLEAD_CLIENT_TOKEN_HMAC_SECRET_KEY": SECRET,
        "FAIRLEAD_EDGE_NAME": name,
        "FAIRLEAD_EDGE_DRAIN_DELAY": "0.1",
    }
    return services.start("edge", variables, TOML, name=name)


async def client(edge: ServiceProcess, user: str) -> ClientConnection:
    token = jwt.encode({"sub": user, "exp": int(time.time()) + 60}, SECRET, "HS256")
    socket = await connect(edge.ws_url)
    await socket.send(json.dumps({"id": 1, "connect": {"token": token, "name": "test"}}))
    assert "connect" in json.loads((await socket.recv()).splitlines()[0])
    await socket.send(json.dumps({"id": 2, "subscribe": {"channel": "news"}}))
    assert "subscribe" in json.loads((await socket.recv()).splitlines()[0])
    return socket


async def test_sessions_go_on_over_a_drained_and_over_a_killed_edge(
    services: Services, nats_server: NatsServer, postgres: Postgres
):
    service = start(services, nats_server, postgres)
    edges = [edge(services, nats_server, f"edge-{number}") for number in (1, 2, 3, 4)]
    for process in (service, *edges):
        await process.ready()
    async with contextlib.AsyncExitStack() as sockets:

        async def clients(edge: ServiceProcess, count: int) -> None:
            for number in range(count):
                socket = await client(edge, f"user-{number}")
                sockets.push_async_callback(socket.close)

        async def on(edge: str, state: str, codes: list[int | None]) -> None:
            found = await sessions_of(service, state=state, edge=edge)
            assert [one["end_code"] for one in found] == codes

        await clients(edges[0], 10)
        assert await edges[0].stop() == 0
        await eventually(lambda: on("edge-1", "away", [1001] * 10))
        await clients(edges[1], 10)
        await eventually(lambda: on("edge-2", "open", [None] * 10))
        edges[1].kill9()
        edges[3].kill9()  # nobody was on it
        await clients(edges[2], 9)  # back before the loss was noticed

        async def settled() -> None:
            gone = await sessions_of(service, state="away")
            assert [(one["user"], one["end_code"], one["end_reason"]) for one in gone] == [
                ("user-9", 1006, "edge lost")
            ]
            back = await sessions_of(service, state="open")
            assert [(one["edge"], one["connection_count"]) for one in back] == [("edge-3", 3)] * 9

        await eventually(settled, within_s=20)

        async def both_are_lost() -> None:
            assert await metric(service, "fairlead_sessions_edge_lost_total") == 2

        await eventually(both_are_lost)
    await eventually(lambda: on("edge-3", "ended", [1000] * 9))
