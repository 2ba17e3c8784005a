"""A running edge behind a proxy that says who the user is (`client.user_id_http_header`)."""

from __future__ import annotations

import asyncio
import json
import socket
from typing import Any
from urllib.parse import urlsplit

import pytest
import websockets

from deploy.processes.ports import free_port
from tests.support.edges import start_edge_in_memory
from tests.support.processes import Services

pytestmark = [pytest.mark.integration, pytest.mark.native]

PROXY, STRANGER = "127.0.0.1", "127.0.0.2"
SETTINGS = {
    "FAIRLEAD_EDGE_TRUSTED_PROXIES": PROXY,
    "FAIRLEAD_CLIENT_USER_ID_HTTP_HEADER": "X-Auth-User",
    "FAIRLEAD_CLIENT_SUBSCRIBE_TO_USER_PERSONAL_CHANNEL": "true",
    "FAIRLEAD_CLIENT_INSECURE": "false",
}


async def answer(url: str, peer: str, user: str, preamble: bytes = b"") -> dict[str, Any] | int:
    """To a connect that comes from this address with this header: the reply, or the code of the close."""
    host = urlsplit(url)
    connection = socket.create_connection((host.hostname, host.port), source_address=(peer, 0))
    connection.sendall(preamble)
    async with websockets.connect(url, additional_headers={"X-Auth-User": user}, sock=connection) as opened:
        await opened.send('{"id":1,"connect":{}}')
        try:
            connect: dict[str, Any] = json.loads(await opened.recv())["connect"]
            return connect
        except websockets.ConnectionClosed as closed:
            assert closed.rcvd is not None
            return closed.rcvd.code


async def test_only_the_proxy_says_who_the_user_is(services: Services) -> None:
    edge = await start_edge_in_memory(services, **SETTINGS).ready()
    by_proxy = await answer(edge.ws_url, PROXY, "alice")
    assert isinstance(by_proxy, dict) and list(by_proxy["subs"]) == ["#alice"]
    assert await answer(edge.ws_url, STRANGER, "alice") == 3501


@pytest.mark.parametrize("preamble", [b"PROXY TCP4 192.0.2.1 127.0.0.1 4711 8151\r\n", b""])
async def test_a_balancer_that_passes_tcp_through_says_nothing_of_the_user(services: Services, preamble: bytes) -> None:
    """It is a trusted proxy, as it tells addresses by the PROXY protocol; all headers are the client's own."""
    port = free_port()
    more = {"FAIRLEAD_EDGE_CLIENT_PORT": str(port), "FAIRLEAD_EDGE_PROXY_PROTOCOL": "true"}
    edge = await start_edge_in_memory(services, **SETTINGS, **more).ready()
    passed_through = edge.ws_url.replace(f":{edge.port}/", f":{port}/")
    assert await answer(passed_through, PROXY, "alice", preamble) == 3501
    reader, writer = await asyncio.open_connection(PROXY, port)
    request = b"POST /connection/http_stream HTTP/1.1\r\nHost: x\r\nX-Auth-User: alice\r\nContent-Length: 21\r\n\r\n"
    writer.write(preamble + request + b'{"id":1,"connect":{}}')
    assert (await reader.readline()).startswith(b"HTTP/1.1 200 ")
    assert b'"code":3501' in await reader.read()
    writer.close()
