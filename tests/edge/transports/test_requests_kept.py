"""What backends may be told of the request with which a client came, on each transport."""

from __future__ import annotations

from dataclasses import replace

import pytest

from services.edge.arrival import Arrival
from services.edge.transports.http_streams import client_routes
from tests.edge.transports.test_websocket import Socket
from tests.support.asgi import Call
from tests.support.cluster import EdgeCluster, TestEdge
from tests.support.eventually import eventually

HERE, PAGE, BROWSER = "2001:db8::1", "https://example.com", "Mozilla/5.0"


@pytest.fixture
async def edge() -> TestEdge:
    """An edge that keeps one header more."""
    edge = TestEdge(EdgeCluster(), transports=["websocket", "http_stream"], allowed_origins=["*"])
    edge.context.current.replace(replace(edge.context.policy, kept_headers=frozenset({"cookie"})))
    return await edge.start()


def arrival_of_the_only_client(edge: TestEdge) -> Arrival:
    (connection,) = edge.context.registry
    return connection.session.state.caller.arrival


async def test_of_a_websocket(edge):
    Socket(edge, client=HERE, origin=PAGE, user_agent=BROWSER, cookie="session=1", authorization="Bearer x")
    assert arrival_of_the_only_client(edge) == Arrival(HERE, PAGE, BROWSER, {"cookie": "session=1"})


async def test_of_an_http_stream(edge):
    routes = client_routes(edge.context, edge.peers, 10)
    stream = next(route.app for route in routes if route.path == "/connection/http_stream")
    headers = {"Origin": PAGE, "User-Agent": BROWSER, "Cookie": "session=1", "Authorization": "Bearer x"}
    call = Call(stream, body=b'{"id":1,"connect":{}}', headers=headers, client=HERE)
    await eventually(lambda: call.transport.socket.listener is not None)
    assert arrival_of_the_only_client(edge) == Arrival(HERE, PAGE, BROWSER, {"cookie": "session=1"})


async def test_of_a_client_that_says_nothing(edge):
    Socket(edge)
    assert arrival_of_the_only_client(edge) == Arrival()
