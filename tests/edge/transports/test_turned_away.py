"""Clients beyond the limits of the door: an HTTP status and when to try again, before any token is read."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest
from msgspec.structs import replace

from services.chassis.process.settings import Rate
from services.edge.connection.door import counted_as
from services.edge.limit_settings import NO_LIMITS
from services.edge.transports.http_streams import client_routes
from services.edge.transports.websocket import WebSocket
from tests.support.asgi import Call
from tests.support.cluster import EdgeCluster, TestEdge
from tests.support.transport import FakeTransport

HERE, THERE = "192.0.2.1", "192.0.2.2"
HEAD = (
    b"GET /connection/websocket HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


async def edge_with(**limits: Rate | int) -> TestEdge:
    transports = ["websocket", "sse", "http_stream"]
    edge = TestEdge(EdgeCluster(), transports=transports, limits=replace(NO_LIMITS, **limits))
    return await edge.start()


def upgraded(edge: TestEdge, client: str, head: bytes = HEAD) -> tuple[WebSocket, str]:
    """A socket from this address, and the response to its upgrade."""
    transport = FakeTransport()
    socket = WebSocket(None, None, {"context": edge.context}, client=client)
    socket.connection_made(cast("asyncio.Transport", transport))
    socket.data_received(head)
    return socket, transport.frames[0].decode()


def connect_all(edge: TestEdge) -> None:
    for each in edge.context.registry:
        edge.context.registry.admit("alice", each)


async def test_a_websocket_beyond_the_connects_of_its_address() -> None:
    edge = await edge_with(address_connects=Rate(1, 30))
    assert upgraded(edge, HERE)[1].startswith("HTTP/1.1 101 ")
    _, response = upgraded(edge, HERE)
    assert response.startswith("HTTP/1.1 429 Too Many Requests\r\n") and "\r\nRetry-After: 30\r\n" in response
    assert upgraded(edge, THERE)[1].startswith("HTTP/1.1 101 ")
    assert edge.context.door.refused == {"limits.address_connects": 1}
    assert edge.tally.upgrades_refused == {"limits.address_connects": 1}


async def test_what_else_refuses_an_upgrade_is_counted_by_cause() -> None:
    edge = await edge_with()
    for head in (
        HEAD.replace(b"\r\n\r\n", b"\r\nOrigin: https://other.example\r\n\r\n"),
        HEAD.replace(b"Version: 13", b"Version: 8"),
        HEAD.replace(b"/connection/websocket", b"/connection/uni_websocket"),
        HEAD.replace(b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", b""),
    ):
        upgraded(edge, HERE, head)
    edge.context.admission.begin_drain()
    edge.context.admission.close()
    upgraded(edge, HERE)
    assert edge.tally.upgrades_refused == {
        "origin": 1,
        "unsupported_version": 1,
        "not_offered": 1,
        "bad_request": 1,
        "draining": 1,
    }
    starting = TestEdge(EdgeCluster(), admits=False)
    upgraded(starting, HERE)
    assert starting.tally.upgrades_refused == {"unready": 1}


async def test_a_websocket_beyond_the_connections_of_the_edge() -> None:
    edge = await edge_with(connections=1)
    first, _ = upgraded(edge, HERE)
    connect_all(edge)
    _, response = upgraded(edge, THERE)
    assert response.startswith("HTTP/1.1 503 Service Unavailable\r\n") and "\r\nRetry-After: " in response
    first.connection_lost(None)
    assert upgraded(edge, THERE)[1].startswith("HTTP/1.1 101 ")


async def test_the_oldest_that_has_not_connected_makes_room_on_a_full_edge() -> None:
    edge = await edge_with(connections=3)
    upgraded(edge, HERE)
    connect_all(edge)
    (alice,) = edge.context.registry
    (oldest, _), (bob, _) = upgraded(edge, HERE), upgraded(edge, HERE)
    assert upgraded(edge, THERE)[1].startswith("HTTP/1.1 101 ")
    left = [each for each in edge.context.registry if each.session.closed]
    assert [oldest._connection] == left, "and neither who is connected nor who came later"
    assert not alice.session.closed and bob._connection is not None and not bob._connection.closed


async def test_an_address_that_has_as_many_as_it_may() -> None:
    edge = await edge_with(address_connections=1)
    first, _ = upgraded(edge, "2001:db8::1")
    assert upgraded(edge, "2001:db8::2")[1].startswith("HTTP/1.1 429 ")
    first.connection_lost(None)
    assert upgraded(edge, "2001:db8::2")[1].startswith("HTTP/1.1 101 ")


@pytest.mark.parametrize(
    ("limits", "status"),
    [
        ({"address_connects": Rate(1, 30)}, 429),
        ({"connects": Rate(1, 30)}, 503),
        ({"address_connections": 1}, 429),
        ({"connections": 1}, 503),
    ],
    ids=str,
)
async def test_a_stream_beyond_each_limit_is_refused_before_its_body(limits, status) -> None:
    edge = await edge_with(**limits)
    upgraded(edge, HERE)
    connect_all(edge)
    (route,) = [each for each in client_routes(edge.context, edge.peers, 10) if each.path == "/connection/http_stream"]
    call = Call(route.endpoint, "POST", body=[], client=HERE)
    assert await call.answered() == status
    assert int(call.headers["retry-after"]) >= 1
    (limit,) = limits
    assert edge.tally.upgrades_refused == {f"limits.{limit}": 1}


async def test_the_address_of_a_client_is_known_to_its_session() -> None:
    edge = await edge_with()
    upgraded(edge, "2001:db8::1")
    (connection,) = edge.context.registry
    assert connection.session.state.address == counted_as("2001:db8::1")
