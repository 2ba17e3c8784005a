"""Backends on NATS with a table: the client's own headers and a signature, on the edge's NATS and on another one."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import nats
import pytest
from nats.aio.msg import Msg

from fairlead import verify
from tests.support.edges import api, start_edge, start_edge_in_memory, wire_client
from tests.support.eventually import eventually
from tests.support.metrics import metric
from tests.support.processes import ServiceProcess, Services
from tests.support.servers import NatsServer

pytestmark = pytest.mark.integration

SECRET = "a secret of sixteen or more"
TOML = """
[client]
connect_hook = true
connect_backend = "app"
[rpc]
backend = "app"
[[channel.namespaces]]
name = "chat"
subscribe_hook = true
subscribe_backend = "app"
[[backends]]
name = "app"
url = "%s"
secret = "a secret of sixteen or more"
http_headers = ["Cookie"]
emulated_headers = ["Authorization"]
"""
COOKIE: dict[str, Any] = {"additional_headers": {"Cookie": "sessionid=56"}}


class Application:
    """Knows the sessions of one site's cookies. Answers what is signed, and nothing else."""

    def __init__(self) -> None:
        self.subjects: list[str] = []

    async def hear(self, message: Msg) -> None:
        headers, question = dict(message.headers or {}), json.loads(message.data)
        verify(SECRET, headers.get("Fairlead-Signature"), message.data)
        self.subjects.append(message.subject)
        answer: dict[str, Any] = {"result": {}}
        if message.subject == "hook.connect":
            known = headers.get("Cookie") == "sessionid=56" or headers.get("Authorization") == "Bearer 56"
            answer = {"result": {"user": "56"}} if known else {"disconnect": {"code": 4501, "reason": "unauthorized"}}
        elif message.subject == "rpc.whoami":
            answer = {"result": {"data": [question["user"], question["method"], question.get("data")]}}
        elif message.subject == "rpc.out":
            answer = {"disconnect": {"code": 4502, "reason": "out"}}
        elif question.get("channel") == "chat:no":
            answer = {"error": {"code": 403, "message": "not yours"}}
        await message.respond(json.dumps(answer).encode())


@asynccontextmanager
async def application(url: str) -> AsyncIterator[Application]:
    made, connection = Application(), await nats.connect(url)
    try:
        for subject in ("hook.>", "rpc.>"):
            await connection.subscribe(subject, "backend", cb=made.hear)
        await connection.rtt()
        yield made
    finally:
        await connection.close()


@pytest.fixture(params=["own", "other"])
async def edge(request: pytest.FixtureRequest, services: Services, nats_server: NatsServer) -> ServiceProcess:
    """An edge on NATS whose backend is there too, or one without NATS whose backend has one."""
    if request.param == "own":
        return await start_edge(services, nats_server, "edge-a", TOML % "nats://").ready()
    made = await start_edge_in_memory(services, "alone", TOML % nats_server.url).ready()
    await eventually(lambda: 'connected to the NATS of the backend "app"' in made.log())
    return made


async def test_a_cookie_logs_in_over_nats_and_each_question_is_signed(edge, nats_server, encoding):
    async with application(nats_server.url) as app:
        async with wire_client(edge, **COOKIE) as client:
            assert "connect" in await client.ask(connect={})
            await client.subscribe("chat:x")
            assert (await client.ask(subscribe={"channel": "chat:no"}))["error"] == {
                "code": 403,
                "message": "not yours",
            }
            assert (await client.ask(rpc={"method": "whoami", "data": {"a": 1}}))["rpc"] == {
                "data": ["56", "whoami", {"a": 1}]
            }
            await client.send({"id": 9, "rpc": {"method": "out"}})
            assert await client.closed() == (4502, "out")
        async with wire_client(edge) as client:
            assert "connect" in await client.ask(connect={"headers": {"Authorization": "Bearer 56"}})
        async with wire_client(edge) as stranger:
            await stranger.send({"id": 1, "connect": {"headers": {"Cookie": "sessionid=56"}}})
            assert await stranger.closed() == (4501, "unauthorized"), "nobody may write the cookie into the connect"
        called = (await api(edge, "rpc", {"method": "whoami"})).json()["result"]["data"]
        assert called == ["", "whoami", None]
        assert set(app.subjects) == {"hook.connect", "hook.subscribe", "rpc.whoami", "rpc.out"}


async def test_while_nobody_listens_there_or_its_nats_is_down_clients_hear_so_at_once(services, nats_server):
    edge = await start_edge_in_memory(services, "alone", TOML % nats_server.url).ready()
    await eventually(lambda: 'connected to the NATS of the backend "app"' in edge.log())
    causes = ("no_responders", "away")
    for _ in causes:
        async with wire_client(edge) as client:
            error = (await client.ask(connect={}))["error"]
            assert (error["code"], error["temporary"]) == (100, True)
        nats_server.stop()
        await eventually(lambda: 'lost the connection to the NATS of the backend "app"' in edge.log())
    series = 'backend_failures_total{{backend="app",call="hook.connect",cause="{}"}}'
    assert [await metric(edge, series.format(cause)) for cause in causes] == [1, 1]
