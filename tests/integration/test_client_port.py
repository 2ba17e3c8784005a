"""`edge.client_port`: clients get in, and nothing else is answered there but whether the edge is ready."""

from __future__ import annotations

import asyncio

import pytest
import websockets

from deploy.processes.ports import free_port
from tests.support.edges import API_KEY, WireClient, start_edge, token
from tests.support.eventually import eventually
from tests.support.plain_http import http_client

pytestmark = [pytest.mark.integration, pytest.mark.once]


@pytest.fixture
def client_port() -> int:
    return free_port()


@pytest.fixture
async def edge(services, nats_server, client_port):
    return await start_edge(
        services, nats_server, "edge-a", FAIRLEAD_EDGE_CLIENT_PORT=str(client_port), FAIRLEAD_EDGE_DRAIN_DELAY="1s"
    ).ready()


async def test_a_client_talks_and_is_told_goodbye(edge, client_port):
    async with websockets.connect(f"ws://127.0.0.1:{client_port}/connection/websocket") as socket:
        client = WireClient(socket)
        assert "connect" in await client.ask(connect={"token": token("alice")})
        assert "subscribe" in await client.ask(subscribe={"channel": "live:x"})
        await client.ask(publish={"channel": "live:x", "data": 1})
        stopping = asyncio.create_task(edge.stop())
        async with http_client(base_url=f"http://127.0.0.1:{client_port}") as http:

            async def unready() -> bool:
                return (await http.get("/readyz")).status_code == 503

            await eventually(unready)
        assert await client.closed() == (1001, "shutdown")
        assert await stopping == 0


async def test_operators_and_backends_are_not_answered(edge, client_port):
    headers = {"X-API-Key": API_KEY}
    async with http_client(headers=headers) as http:

        async def statuses(port: int) -> list[int]:
            urls = [f"http://127.0.0.1:{port}{path}" for path in ("/metrics", "/livez", "/readyz", "/api/info")]
            got = [(await http.get(url)).status_code for url in urls[:3]]
            return [*got, (await http.post(urls[3], json={})).status_code]

        assert await statuses(edge.port) == [200, 200, 200, 200]
        assert await statuses(client_port) == [404, 404, 200, 404]
        assert (await http.get(f"http://127.0.0.1:{client_port}/connection/init")).status_code == 200


async def test_an_edge_that_cannot_have_the_port_says_so_and_ends(services, nats_server, edge, client_port):
    other = start_edge(services, nats_server, "edge-b", FAIRLEAD_EDGE_CLIENT_PORT=str(client_port))

    assert await other.wait() == 3
    assert f"cannot listen on 127.0.0.1:{client_port}: address already in use; find out by whom" in other.log()
    assert "or choose another port (edge.client_port, FAIRLEAD_EDGE_CLIENT_PORT)" in other.log()
    assert "ready: " not in other.log()
