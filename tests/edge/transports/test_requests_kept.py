"""What backends may be told of the request with which a client came, on each transport."""

from __future__ import annotations

from dataclasses import replace

import pytest

from services.edge.arrival import Arrival, Kept, UserHeader
from services.edge.transports.http_streams import client_routes
from tests.edge.transports.upgraded import HELLO, Socket
from tests.support.asgi import Call
from tests.support.cluster import EdgeCluster, TestEdge
from tests.support.eventually import eventually

HERE, PAGE, BROWSER = "2001:db8::1", "https://example.com", "Mozilla/5.0"


@pytest.fixture
async def edge() -> TestEdge:
    """An edge that keeps one header more."""
    edge = TestEdge(EdgeCluster(), transports=["websocket", "http_stream"], allowed_origins=["*"])
    kept = Kept(True, frozenset({"cookie", "x-real-ip"}), frozenset({"x-real-ip"}))
    edge.context.current.replace(replace(edge.context.policy, kept=kept))
    return await edge.start()


def arrival_of_the_only_client(edge: TestEdge) -> Arrival:
    (connection,) = edge.context.registry
    return connection.session.state.caller.arrival


async def test_of_a_websocket(edge):
    more = "Authorization: Bearer x\r\nX-Real-IP: 127.0.0.1\r\n"
    socket = Socket(edge, client=HERE, origin=PAGE, user_agent=BROWSER, cookie="session=1", more=more)
    assert arrival_of_the_only_client(edge) == Arrival(HERE, PAGE, BROWSER, {"cookie": "session=1"})
    await socket.connected()
    assert arrival_of_the_only_client(edge) == Arrival(headers={"cookie": "session=1"})


async def test_of_a_websocket_behind_a_proxy(edge):
    Socket(edge, client=HERE, by_proxy=True, x_real_ip=HERE)
    assert arrival_of_the_only_client(edge) == Arrival(HERE, headers={"x-real-ip": HERE})


async def test_of_an_http_stream(edge):
    routes = client_routes(edge.context, edge.peers, 10)
    stream = next(route.app for route in routes if route.path == "/connection/http_stream")
    headers = {"Origin": PAGE, "Cookie": "session=1", "Authorization": "Bearer x", "X-Real-IP": "127.0.0.1"}
    call = Call(stream, body=b'{"id":1,"connect":{}}', headers=headers, client=HERE)
    await eventually(lambda: call.transport.socket.listener is not None)
    assert arrival_of_the_only_client(edge) == Arrival(headers={"cookie": "session=1"})


async def test_of_a_client_that_says_nothing(edge):
    Socket(edge)
    assert arrival_of_the_only_client(edge) == Arrival()


class TestAuthenticatingProxy:
    """`client.user_id_http_header`: the proxy is one of `edge.trusted_proxies`."""

    @pytest.fixture
    async def edge(self) -> TestEdge:
        edge = TestEdge(EdgeCluster(), transports=["websocket", "http_stream"], insecure=False)
        edge.context.current.replace(replace(edge.context.policy, user_header=UserHeader("X-Auth-User")))
        return await edge.start()

    def connect(self, edge: TestEdge, by_proxy: bool, *values: str) -> Socket:
        fields = "".join(f"X-Auth-User: {value}\r\n" for value in values)
        return Socket(edge, more=fields, by_proxy=by_proxy)

    async def test_it_says_who_connects_by_a_websocket(self, edge):
        await self.connect(edge, True, "alice").connected()
        assert edge.context.registry.count_of_user("alice") == 1

    async def test_what_a_client_writes_there_itself_counts_for_nothing(self, edge):
        socket = self.connect(edge, False, "alice")
        socket.send(HELLO)
        assert socket.close_frame[0] == 3501
        assert edge.context.registry.count_of_user("alice") == 0

    async def test_a_header_that_a_proxy_added_to_the_client_s_own_is_refused(self, edge):
        socket = self.connect(edge, True, "root", "alice")
        assert socket.status == 400 and "x-auth-user once" in socket.response

    async def test_an_id_that_is_no_text_is_refused(self, edge):
        assert self.connect(edge, True, "\xff").status == 400

    async def test_it_says_who_opens_an_http_stream(self, edge):
        call = self.stream(edge, True, "alice")
        await eventually(lambda: call.transport.socket.listener is not None)
        assert edge.context.registry.count_of_user("alice") == 1
        refused = self.stream(edge, True, "\xff")
        assert await refused.answered() == 400

    async def test_on_an_http_stream_too_a_client_is_not_believed(self, edge):
        call = self.stream(edge, False, "alice")
        await eventually(lambda: call.transport.socket.listener is not None)
        assert edge.context.registry.count_of_user("alice") == 0

    def stream(self, edge: TestEdge, by_proxy: bool, user: str) -> Call:
        routes = client_routes(edge.context, edge.peers, 10)
        stream = next(route.app for route in routes if route.path == "/connection/http_stream")
        return Call(stream, body=HELLO, headers={"X-Auth-User": user}, by_proxy=by_proxy)
