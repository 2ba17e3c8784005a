"""Commands of HTTP streams: understood or refused, and handed over to the edge that has the stream."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proto.control import Emulate
from services.edge.connection.connection import Connection
from services.edge.framing import formats
from services.edge.transports.emulation import Emulation, read_emulation
from tests.support.asgi import Call
from tests.support.cluster import EdgeCluster, TestEdge
from tests.support.http_streams import emulation_body
from tests.support.transport import FakeTransport

BINARY = {"Content-Type": "application/octet-stream"}
UNSUBSCRIBE = b'{"id":2,"unsubscribe":{"channel":"x"}}'


class Streams:
    """Two edges, with a client on the first one."""

    def __init__(self) -> None:
        cluster = EdgeCluster()
        self.a, self.b = (TestEdge(cluster, transports=["http_stream"]) for _ in range(2))

    async def start(self):
        await self.a.start()
        await self.b.start()
        self.transport = FakeTransport()
        self.connection = self.stream("secret", formats.HTTP_STREAM_JSON)
        self.connection.message_received(b'{"id":1,"connect":{}}')
        return self

    def stream(self, session, format):
        made = Connection(self.a.context, self.transport, format, session)
        self.a.context.registry.add_stream(session, made)
        return made

    async def post(self, edge, body, headers=None):
        call = Call(Emulation(edge.context, edge.peers), body=body, headers=headers)
        status = await call.answered()
        assert (status == 204) == (call.body == b"")
        return status

    def heard(self):
        return [json.loads(line) for line in b"".join(self.transport.frames).splitlines()]


@pytest.fixture
async def streams():
    return await Streams().start()


@pytest.mark.parametrize("binary", [False, True])
async def test_any_edge_takes_commands_and_they_are_carried_out_where_the_stream_is(streams, binary):
    for edge in (streams.b, streams.a):
        body = emulation_body(streams.a.instance, "secret", UNSUBSCRIBE, binary)
        assert await streams.post(edge, body, BINARY if binary else None) == 204
    assert streams.heard()[1:] == [{"id": 2, "unsubscribe": {}}] * 2
    assert streams.a.asked == [Emulate("secret", UNSUBSCRIBE)] * 2 and not streams.b.asked


@pytest.mark.parametrize("session", ["", "Secret", "secret ", "\N{SNOWMAN}", "s" * 60_000])
async def test_a_wrong_session_is_404_wherever_it_is_said(streams, session):
    for edge in (streams.a, streams.b):
        assert await streams.post(edge, emulation_body(streams.a.instance, session, UNSUBSCRIBE)) == 404


@pytest.mark.parametrize("node", ["", "edge-7", "*", ">", "edge-0.x", "\N{SNOWMAN}", "e" * 65])
async def test_so_is_a_wrong_edge(streams, node):
    assert await streams.post(streams.a, emulation_body(node, "secret", UNSUBSCRIBE)) == 404
    assert not streams.a.asked


async def test_nobody_speaks_for_a_client_that_only_listens(streams):
    streams.stream("listener", formats.UNI_HTTP_STREAM)
    assert await streams.post(streams.b, emulation_body(streams.a.instance, "listener", UNSUBSCRIBE)) == 404


async def test_an_unreachable_edge_is_503(streams):
    streams.b.peers.away = True
    body = emulation_body(streams.a.instance, "secret", UNSUBSCRIBE)
    assert await streams.post(streams.b, body) == 503


async def test_an_edge_that_starts_cannot_be_asked_either():
    edge = TestEdge(EdgeCluster(), transports=["http_stream"], admits=False)
    call = Call(Emulation(edge.context, edge.peers), body=emulation_body(edge.instance, "secret", UNSUBSCRIBE))
    assert await call.answered() == 503


async def test_an_edge_that_takes_no_new_clients_still_takes_commands(streams):
    streams.a.context.admission.begin_drain()
    streams.a.context.admission.close()
    assert await streams.post(streams.a, emulation_body(streams.a.instance, "secret", UNSUBSCRIBE)) == 204


async def test_a_body_has_the_limit_of_a_message(streams):
    assert await streams.post(streams.a, b"x" * 65537) == 413


@given(body=st.binary(), binary=st.booleans())
def test_any_body_is_a_request_or_a_value_error(body, binary):
    try:
        request = read_emulation(body, binary)
    except ValueError:
        return
    assert bytes(request.data)


@given(fields=st.dictionaries(st.sampled_from(["node", "session", "data", "x"]), st.none() | st.text() | st.integers()))
def test_so_is_any_object(fields):
    try:
        request = read_emulation(json.dumps(fields).encode("utf-8", "surrogatepass"), False)
    except ValueError:
        return
    assert bytes(request.data).decode() == fields["data"]


async def test_a_name_that_is_no_text_is_refused(streams):
    for field in ("node", "session", "data"):
        body = emulation_body(streams.a.instance, "secret", UNSUBSCRIBE).replace(f'"{field}": "'.encode(), b"%s\\ud800")
        body = json.dumps({"node": streams.a.instance, "session": "secret", "data": "x", field: "\ud800"}).encode()
        assert b"\\ud800" in body
        assert await streams.post(streams.a, body) in (400, 404)
