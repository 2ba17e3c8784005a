"""Limits on a running edge: who comes in, by which address, and how much a client may ask for once it is in."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

import psutil
import pytest
import websockets
from websockets.asyncio.client import ClientConnection

from deploy.processes.ports import free_port
from tests.support.edges import in_seconds, start_edge_in_memory, token, wire_client
from tests.support.eventually import eventually
from tests.support.metrics import metric
from tests.support.plain_http import http_client
from tests.support.processes import ServiceProcess, Services
from tests.support.stock_clients import KINDS, StockClients, events_of
from tests.support.stock_errors import CommandFailed

pytestmark = [pytest.mark.integration, pytest.mark.native]

PATH = "/connection/websocket"
HERE, THERE, LIAR = "192.0.2.1", "192.0.2.2", "198.51.100.9"
ONE_EACH = {"FAIRLEAD_LIMITS_ADDRESS_CONNECTS": "1/1h"}


@pytest.fixture
def client_port() -> int:
    return free_port()


@pytest.fixture
async def behind_a_proxy(services: Services, client_port: int) -> AsyncIterator[ServiceProcess]:
    """An edge that trusts 127.0.0.1, and lets each address in once."""
    settings = {
        "FAIRLEAD_EDGE_TRUSTED_PROXIES": "127.0.0.1",
        "FAIRLEAD_EDGE_CLIENT_PORT": str(client_port),
        "FAIRLEAD_EDGE_PROXY_PROTOCOL": "true",
    }
    yield await start_edge_in_memory(services, **ONE_EACH, **settings).ready()


async def status_of(url: str, forwarded: str = "", preamble: bytes = b"") -> int:
    """The status with which an upgrade is answered; the WebSocket ends at once."""
    headers = {"X-Forwarded-For": forwarded} if forwarded else {}
    host, port = url.removeprefix("ws://").partition("/")[0].split(":")
    connection = socket.create_connection((host, int(port)))
    connection.sendall(preamble)
    try:
        opened: ClientConnection
        async with websockets.connect(url, additional_headers=headers, sock=connection) as opened:
            assert opened.response is not None
            return opened.response.status_code
    except websockets.InvalidStatus as refused:
        if refused.response.status_code in (429, 503):
            assert int(refused.response.headers["Retry-After"]) >= 1
        return refused.response.status_code


async def test_an_address_behind_a_trusted_proxy_has_limits_of_its_own(behind_a_proxy: ServiceProcess) -> None:
    url = behind_a_proxy.ws_url
    assert await status_of(url, HERE) == 101
    assert await status_of(url, HERE) == 429
    assert await status_of(url, f"{LIAR}, {HERE}") == 429, "what the client itself wrote does not count"
    assert await status_of(url, THERE) == 101
    assert await status_of(url, "2001:db8::1") == 101
    assert await status_of(url, "2001:db8::2") == 429, "of the same /64"
    assert await metric(behind_a_proxy, 'limited_total{limit="limits.address_connects"}') == 3


async def test_streams_too(behind_a_proxy: ServiceProcess) -> None:
    async with http_client(base_url=behind_a_proxy.url) as http:
        body = b'{"connect":{"token":"forged"},"id":1}'
        for status in (200, 429):
            response = await http.post("/connection/http_stream", content=body, headers={"X-Forwarded-For": HERE})
            assert response.status_code == status
        assert int(response.headers["retry-after"]) >= 1


async def test_commands_of_streams_have_a_limit_before_another_edge_is_asked(services: Services) -> None:
    edge = await start_edge_in_memory(services, FAIRLEAD_LIMITS_ADDRESS_EMULATIONS="1/1h").ready()
    async with http_client(base_url=edge.url) as http:
        body = b'{"node":"nobody","session":"none","data":"{}"}'
        for status in (404, 429):
            response = await http.post("/emulation", content=body)
            assert response.status_code == status
    assert int(response.headers["retry-after"]) >= 1


async def test_a_proxy_that_is_not_trusted_is_not_believed(services: Services) -> None:
    edge = await start_edge_in_memory(services, **ONE_EACH).ready()
    assert await status_of(edge.ws_url, HERE) == 101
    assert await status_of(edge.ws_url, THERE) == 429
    assert "the address 127.0.0.1 has reached limits.address_connects" in edge.log()


@pytest.mark.parametrize(
    "preamble",
    [
        b"PROXY TCP4 192.0.2.1 127.0.0.1 4711 8151\r\n",
        b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\xc0\x00\x02\x01\x7f\x00\x00\x01\x12\x67\x1f\xd7",
    ],
    ids=["version 1", "version 2"],
)
async def test_the_proxy_protocol_tells_the_address(
    behind_a_proxy: ServiceProcess, client_port: int, preamble: bytes
) -> None:
    url = f"ws://127.0.0.1:{client_port}{PATH}"
    assert await status_of(url, preamble=preamble) == 101
    assert await status_of(url, preamble=preamble) == 429
    assert await status_of(url, forwarded=LIAR, preamble=preamble) == 429, "the client itself is no proxy"
    beside_the_proxy = b"PROXY TCP4 127.0.0.1 127.0.0.1 4711 8151\r\n"
    assert await status_of(url, preamble=beside_the_proxy) == 101
    for forwarded in (LIAR, f"{LIAR}, 127.0.0.1"):
        assert await status_of(url, forwarded, beside_the_proxy) == 429, "nor one with an address that is trusted"
    assert await status_of(url, LIAR) == 429, "nor where there is no header"
    other = b"PROXY TCP4 192.0.2.2 127.0.0.1 4711 8151\r\n"
    assert await status_of(url, preamble=other) == 101
    async with http_client() as http:
        answer = await http.get(f"http://127.0.0.1:{client_port}/readyz")
    assert answer.status_code == 200, "the proxy's own health checks come without a header"


async def test_the_proxy_protocol_is_of_one_port_and_of_trusted_proxies(
    behind_a_proxy: ServiceProcess, client_port: int, services: Services
) -> None:
    preamble = b"PROXY TCP4 192.0.2.1 127.0.0.1 4711 8151\r\n"
    await start_edge_in_memory(
        services,
        "stranger",
        FAIRLEAD_EDGE_TRUSTED_PROXIES="10.0.0.0/8",
        FAIRLEAD_EDGE_CLIENT_PORT=str(other_port := free_port()),
        FAIRLEAD_EDGE_PROXY_PROTOCOL="true",
    ).ready()
    for port in (behind_a_proxy.port, other_port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(preamble + b"GET /connection/init HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await reader.readline()).startswith(b"HTTP/1.1 400 "), port
        writer.close()


async def test_an_edge_takes_no_more_clients_than_it_may(services: Services) -> None:
    edge = await start_edge_in_memory(services, FAIRLEAD_LIMITS_CONNECTIONS="1").ready()
    async with wire_client(edge) as alice:
        await alice.connect()
        assert await status_of(edge.ws_url) == 503
    await eventually(lambda: _is_in(edge))


async def test_websockets_that_never_connect_keep_nobody_out(services: Services) -> None:
    edge = await start_edge_in_memory(services, FAIRLEAD_LIMITS_CONNECTIONS="3").ready()
    async with wire_client(edge) as alice, wire_client(edge), wire_client(edge) as bob:
        await alice.connect()
        async with wire_client(edge) as carol:
            await carol.connect()
            await bob.connect()
            assert await status_of(edge.ws_url) == 503, "nobody is closed who is connected"
            assert await metric(edge, "connections") == 3


async def test_silent_sockets_take_no_descriptor_that_the_edge_needs(services: Services) -> None:
    edge = await start_edge_in_memory(services).ready()
    psutil.Process(edge.pid).rlimit(psutil.RLIMIT_NOFILE, (400, 400))
    silent: list[asyncio.StreamWriter] = []
    try:
        for _ in range(500):
            silent.append((await asyncio.open_connection("127.0.0.1", edge.port))[1])
        async with wire_client(edge) as alice:
            await alice.connect()
        assert await metric(edge, "connections") <= 1, "the edge answers operators too"
    finally:
        for each in silent:
            each.close()


async def test_half_bodies_take_no_descriptor_that_the_edge_needs(services: Services) -> None:
    edge = await start_edge_in_memory(services).ready()
    psutil.Process(edge.pid).rlimit(psutil.RLIMIT_NOFILE, (400, 400))
    half: list[asyncio.StreamWriter] = []
    try:
        for _ in range(350):
            half.append((await asyncio.open_connection("127.0.0.1", edge.port))[1])
            half[-1].write(b"POST /emulation HTTP/1.1\r\nHost: x\r\nContent-Length: 20\r\n\r\n{")
        async with http_client(base_url=edge.url) as http:
            assert (await http.get("/readyz")).status_code == 200
        async with wire_client(edge) as alice:
            await alice.connect()
        assert await metric(edge, "connections") <= 1, "the edge answers operators too"
    finally:
        for each in half:
            each.close()


async def _is_in(edge: ServiceProcess) -> bool:
    return await status_of(edge.ws_url) == 101


@pytest.mark.parametrize("kind", KINDS)
async def test_a_stock_client_beyond_its_limit_hears_so_and_stays(
    services: Services, stock: StockClients, kind: str
) -> None:
    edge = await start_edge_in_memory(services, FAIRLEAD_LIMITS_PUBLISHES="3/1h").ready()
    alice = stock.make(kind, edge.ws_url, token=token("alice", exp=in_seconds(600)))
    await alice.connect()
    for number in range(3):
        await alice.publish("live:x", number)
    with pytest.raises(CommandFailed) as refused:
        await alice.publish("live:x", 3)
    assert refused.value.code == 111
    await alice.subscribe("live:x")
    assert not events_of(alice, "disconnected") and len(events_of(alice, "connected")) == 1
    assert await metric(edge, 'limited_total{limit="limits.publishes"}') == 1


@pytest.mark.parametrize("kind", KINDS)
async def test_a_stock_client_that_is_turned_away_comes_back_by_itself(
    services: Services, stock: StockClients, kind: str
) -> None:
    edge = await start_edge_in_memory(services, FAIRLEAD_LIMITS_ADDRESS_CONNECTS="1/1s").ready()
    assert await status_of(edge.ws_url) == 101
    alice = stock.make(kind, edge.ws_url, token=token("alice", exp=in_seconds(600)))
    await alice.connect()
    assert not events_of(alice, "disconnected")
