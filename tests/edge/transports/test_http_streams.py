"""An HTTP stream, its socket and the first commands of its client, without a server."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proto import codes
from proto.codes import CloseCode
from services.edge.client_settings import TRANSPORTS
from services.edge.connection.connection import CLOSE_TIMEOUT_S
from services.edge.session.command_queue import QUEUED_BYTES_CEILING
from services.edge.transports.http_streams import StreamEndpoint, client_routes
from tests.support.asgi import Call
from tests.support.cluster import EdgeCluster, TestEdge
from tests.support.eventually import eventually

CONNECT = b'{"id":1,"connect":{}}'
BINARY = {"Content-Type": "application/octet-stream"}


@pytest.fixture
async def edge():
    return await TestEdge(EdgeCluster(), transports=list(TRANSPORTS)).start()


def endpoint(edge, transport="http_stream", most=100):
    routes = client_routes(edge.context, edge.peers, most)
    return next(route.app for route in routes if route.path == f"/connection/{transport}")


async def opened(edge, transport="http_stream", first=CONNECT, **more):
    """A call whose stream is open."""
    call = Call(endpoint(edge, transport), body=first, **more)
    await eventually(lambda: call.transport.socket.listener is not None)
    assert call.status == 200
    return call


def lines(call):
    return [json.loads(line) for chunk in call.transport.chunks for line in chunk.splitlines()]


def connection_of(edge):
    """The one connection, which is a stream."""
    (connection,) = edge.context.registry
    assert edge.context.registry.streams == 1
    return connection


async def test_first_words_are_answered_on_the_stream_which_stays_open(edge):
    call = await opened(edge)
    (reply,) = lines(call)
    stream = edge.context.registry.stream(reply["connect"]["session"])
    assert stream is connection_of(edge) and reply["connect"]["node"] == edge.instance
    assert not call.over


async def test_events_begin_with_a_comment_and_no_carriage_return(edge):
    """The package eventsource 2.x loses the first event if a proxy joins it with a line that ends in CR LF."""
    call = Call(endpoint(edge, "sse"), "GET", query="cf_connect=" + quote(CONNECT))
    await eventually(lambda: len(call.transport.chunks) == 2)
    first, event = call.transport.chunks
    assert first == b":\n\n" and b"\r" not in event
    assert event.startswith(b'data: {"id":1,"connect":{') and event.endswith(b"}\n\n")
    assert call.headers["content-type"] == "text/event-stream"


async def test_a_client_that_leaves_is_forgotten(edge):
    call = await opened(edge)
    call.transport.lose()
    assert await call.answered() == 200
    assert not edge.context.registry.streams and not edge.context.registry
    assert edge.tally.closes == Counter({1006: 1})


async def test_a_client_that_leaves_before_its_stream_begins_leaves_no_trace(edge):
    call = Call(endpoint(edge), body=CONNECT)
    call.transport.lose()
    assert await call.answered() == 200
    assert not edge.context.registry and not edge.tally.accepted


async def test_a_close_is_said_and_then_the_response_ends(edge):
    call = await opened(edge)
    connection_of(edge).message_received(b"no command")
    assert await call.answered() == 200
    assert lines(call)[-1]["push"]["disconnect"]["code"] == 3501
    assert not call.transport.aborted and edge.context.registry, "until the socket has taken it"
    call.transport.lose()
    assert not edge.context.registry and not edge.context.registry.streams
    assert edge.tally.closes == Counter({3501: 1})


async def test_3000_ends_the_response_without_a_word(edge):
    call = await opened(edge)
    heard = len(lines(call))
    connection_of(edge).close(CloseCode(3000, "moved"))
    assert await call.answered() == 200
    assert len(lines(call)) == heard


async def test_a_socket_that_does_not_take_the_end_is_dropped(edge):
    call = await opened(edge)
    connection_of(edge).close(codes.GOING_AWAY)
    edge.clock.time += CLOSE_TIMEOUT_S + 1
    edge.context.timing_wheel.turn(edge.clock.now())
    assert call.transport.aborted
    await eventually(lambda: not edge.context.registry)
    assert edge.tally.closes == Counter({1001: 1})


async def test_a_task_that_is_cancelled_takes_its_socket_with_it(edge):
    call = await opened(edge)
    call.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call.task
    assert call.transport.aborted
    await eventually(lambda: not edge.context.registry)


async def test_a_full_socket_is_not_written_to_and_gets_the_rest_from_the_log(edge):
    call = await opened(edge, first=CONNECT + b'\n{"id":2,"subscribe":{"channel":"chat:x"}}')
    await eventually(lambda: len(lines(call)) == 2)
    call.transport.stall = True
    await edge.publish("chat:x", 0)
    await eventually(lambda: edge.tally.lagged.total() == 1)
    for i in range(1, 5):
        await edge.publish("chat:x", i)
    await eventually(lambda: edge.node.position("chat:x").offset == 5)
    assert [line["push"]["pub"]["data"] for line in lines(call)[2:]] == [0]
    call.transport.socket.listener.resume_writing()
    await eventually(lambda: [line["push"]["pub"]["data"] for line in lines(call)[2:]] == [0, 1, 2, 3, 4])
    assert edge.tally.lagged.total() == edge.tally.caught_up.total() == 1


async def test_commands_that_pile_up_end_the_stream(edge):
    """Nothing can be left unread here: commands beyond the limit must be refused."""
    call = await opened(edge, first=CONNECT + b'\n{"id":2,"subscribe":{"channel":"chat:x"}}')
    await eventually(lambda: len(lines(call)) == 2)
    call.transport.stall = True
    await edge.publish("chat:x", 1)
    await eventually(lambda: edge.tally.lagged.total() == 1)
    command = json.dumps({"id": 3, "publish": {"channel": "chat:x", "data": "x" * 60_000}}).encode()
    count = 0
    while not connection_of(edge).session.closed:
        connection_of(edge).message_received(command)
        count += 1
    assert count == QUEUED_BYTES_CEILING // len(command) + 1
    assert edge.tally.closes == Counter({3013: 1})


async def test_no_more_streams_than_allowed(edge):
    app = endpoint(edge, most=2)
    calls = [Call(app, body=CONNECT) for _ in range(2)]
    await eventually(lambda: edge.context.registry.streams == 2)
    refused = Call(app, body=CONNECT)
    assert await refused.answered() == 503 and refused.headers["retry-after"] == "1"
    assert edge.tally.upgrades_refused == {"no_room": 1}
    calls[0].transport.lose()
    await opened(edge)


async def test_nor_when_they_come_while_their_first_words_do(edge):
    app = endpoint(edge, most=2)
    calls = [Call(app, body=[CONNECT, b""]) for _ in range(5)]
    await eventually(lambda: sum(call.status == 503 for call in calls) == 3)
    assert edge.context.registry.streams == 2


async def test_an_edge_that_starts_or_goes_away_opens_none(edge):
    edge.context.admission.close()
    starting = TestEdge(EdgeCluster(), transports=list(TRANSPORTS), admits=False)
    for each in (edge, starting):
        assert await Call(endpoint(each), body=CONNECT).answered() == 503
    assert edge.tally.upgrades_refused == {"draining": 1} and starting.tally.upgrades_refused == {"unready": 1}


@pytest.mark.parametrize("transport", ["http_stream", "sse"])
async def test_without_first_words_there_is_nothing_to_open(edge, transport):
    assert await Call(endpoint(edge, transport), body=b"").answered() == 400
    query = Call(endpoint(edge, transport), "GET", query="cf_connect=")
    assert await query.answered() == (400 if transport == "sse" else 405)


async def test_first_words_have_a_limit_wherever_they_stand():
    edge = await TestEdge(EdgeCluster(), transports=["sse"], message_size_limit=100).start()
    assert await Call(endpoint(edge, "sse"), body=b"x" * 101).answered() == 413
    assert await Call(endpoint(edge, "sse"), "GET", query="cf_connect=" + "x" * 101).answered() == 413
    await opened(edge, "sse", first=b"x" * 100)
    assert edge.tally.upgrades_refused == {"too_large": 2}


async def test_a_page_may_try_whether_it_gets_through(edge):
    call = Call(endpoint(edge, "init"))
    assert await call.answered() == 200 and call.body == b"{}"


WORDS = st.binary() | st.sampled_from([CONNECT, b"{}", b"{}\n{}", b"[]", b"\x00", b"\x02\x22\x00", b"[" * 60_000])


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(transport=st.sampled_from(["http_stream", "sse", "uni_http_stream", "uni_sse"]), words=WORDS, flag=st.booleans())
async def test_whatever_the_first_words_are_they_are_answered(edge, caplog, transport, words, flag):
    call = Call(endpoint(edge, transport), body=words, headers=BINARY if flag else None)
    await eventually(lambda: call.over or [chunk for chunk in call.transport.chunks if chunk.strip()])
    assert call.status == 200 or (call.status == 400 and not words)
    call.transport.lose()
    await call.answered()
    assert not edge.context.registry.streams and not edge.context.registry
    assert not [record for record in caplog.records if record.exc_info]


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(query=st.binary(max_size=200))
async def test_whatever_the_query_is_it_is_answered(edge, query):
    text = query.decode("latin-1").translate({i: None for i in range(33)}).encode("ascii", "ignore").decode()
    call = Call(endpoint(edge, "uni_sse"), "GET", query=text)
    await eventually(lambda: call.over or call.transport.socket.listener is not None)
    call.transport.lose()
    await call.answered()


def test_every_stream_of_the_settings_has_an_address():
    edge = TestEdge(EdgeCluster())
    paths = {
        route.path for route in client_routes(edge.context, edge.peers, 1) if isinstance(route.app, StreamEndpoint)
    }
    assert paths == {f"/connection/{name}" for name in TRANSPORTS if "websocket" not in name}
