"""Clients on HTTP streams and SSE, whose commands go to any edge: on two real edges, byte by byte."""

from __future__ import annotations

import functools

import pytest

from tests.support.edges import API_KEY, api, connected, in_seconds, start_edge, start_pair, token
from tests.support.eventually import eventually
from tests.support.http_streams import (
    KINDS,
    emulate,
    emulation_body,
    frame_of,
    post,
    request,
    stream_client,
    streaming,
    type_of,
)
from tests.support.metrics import metric, reaches, stands_at
from tests.support.plain_http import http_client

pytestmark = [pytest.mark.integration, pytest.mark.once]

PING = {"FAIRLEAD_CLIENT_PING_INTERVAL": "1s", "FAIRLEAD_CLIENT_PONG_TIMEOUT": "500ms"}


@pytest.fixture(params=KINDS)
def kind(request):
    """Each kind of bidirectional stream."""
    return request.param


def is_binary(kind: str) -> bool:
    return kind.endswith("protobuf")


# --- a conversation -------------------------------------------------------------------------------------------------


async def test_commands_sent_to_the_other_edge_are_answered_on_the_stream(shared_pair, kind, x):
    a, b = shared_pair
    async with streaming(a, kind, via=b) as client, connected(b, "bob") as bob:
        assert client.node and len(client.session) >= 22  # 128 bits
        assert "epoch" in await client.subscribe(f"chat:{x}")
        await bob.subscribe(f"chat:{x}")
        await client.send({"id": 7, "publish": {"channel": f"chat:{x}", "data": {"from": "the stream"}}})
        assert await bob.publications(f"chat:{x}", 1) == [{"from": "the stream"}]
        first, second = await client.message(), await client.message()
        push, reply = (first, second) if "push" in first else (second, first)
        assert reply == {"id": 7, "publish": {}}
        assert push["push"]["pub"]["info"]["user"] == "alice"
        await bob.send({"id": 8, "publish": {"channel": f"chat:{x}", "data": ["a\u2028b\n", 2]}})
        assert await client.publications(f"chat:{x}", 1) == [["a\u2028b\n", 2]]


async def test_connect_and_subscribe_may_be_the_first_words_together(shared_edge, kind, x):
    commands = ({"id": 1, "connect": {"token": token("alice")}}, {"id": 2, "subscribe": {"channel": f"chat:{x}"}})
    async with stream_client(shared_edge, kind, frame_of(*commands, protobuf=is_binary(kind))) as client:
        result = (await client.reply(1))["connect"]
        assert (result["ping"], result["pong"]) == (25, True) and result["session"] and result["node"]
        assert (await client.reply(2))["subscribe"]["recoverable"]


async def test_data_that_spans_lines_is_one_message(shared_pair, kind, x):
    """A raw newline would end an event, and so would a carriage return."""
    a, b = shared_pair
    async with streaming(a, kind) as client:
        await client.subscribe(f"chat:{x}")
        body = f'{{"channel": "chat:{x}", "data": {{\r\n "text":\n\r"one\\r\\ntwo"\r}}}}'
        await post(b, "/api/publish", body.encode(), {"X-API-Key": API_KEY})
        assert await client.publications(f"chat:{x}", 1) == [{"text": "one\r\ntwo"}]
        data = f'{{"id":5,"publish":{{"channel":"chat:{x}","data":[1,\r2]}}}}'.encode()
        if not is_binary(kind):
            assert await emulate(b, client.node, client.session, data) == 204
            messages = [await client.message(), await client.message()]
            assert [m["push"]["pub"]["data"] for m in messages if "push" in m] == [[1, 2]]


async def test_pings_are_answered_by_way_of_any_edge_and_the_silent_are_let_go(services, nats_server, kind):
    a, b = await start_pair(services, nats_server, **PING)
    async with streaming(a, kind, via=b) as answers, streaming(b, kind) as silent:
        for _ in range(3):
            assert await answers.message() == {}
            await answers.send({})
        assert await silent.closed() == (3012, "no pong")
        assert await answers.message() == {}
        await answers.send({}, {})
        assert (await answers.closed())[0] == 3501, "a pong that nobody asked for"


@pytest.mark.parametrize(
    ("commands", "code"),
    [
        ([{"id": 1, "subscribe": {"channel": "chat:x"}}], 3501),
        ([{"id": 1, "connect": {}}], 3501),  # no token, and no anonymous connects
        ([{"id": 1, "connect": {"token": "garbage"}}], 3500),
    ],
)
async def test_a_client_that_may_not_connect_is_told_so_and_the_stream_ends(shared_edge, kind, commands, code):
    async with stream_client(shared_edge, kind, frame_of(*commands, protobuf=is_binary(kind))) as client:
        got, reason = await client.closed()
        assert got == code and reason


async def test_an_undecodable_command_ends_the_stream_with_3501(shared_pair, kind):
    a, b = shared_pair
    async with stream_client(a, kind, b"\xffno command") as client:
        assert (await client.closed())[0] == 3501
    async with streaming(a, kind) as client:
        assert await emulate(b, client.node, client.session, b"no command", is_binary(kind)) == 204
        assert (await client.closed())[0] == 3501


async def test_an_expired_token_is_an_error_that_the_client_answers_by_leaving(shared_edge, kind):
    first = frame_of({"id": 1, "connect": {"token": token("a", exp=in_seconds(-5))}}, protobuf=is_binary(kind))
    async with stream_client(shared_edge, kind, first) as client:
        assert (await client.reply(1))["error"]["code"] == 109
    await eventually(functools.partial(stands_at, shared_edge, "http_streams", 0))


async def test_a_client_that_leaves_is_noticed(shared_pair, kind, x):
    a, b = shared_pair
    async with streaming(a, kind) as client, connected(b, "bob") as bob:
        await bob.subscribe(f"room:{x}")
        await client.subscribe(f"room:{x}")
        while "join" not in (push := await bob.push(f"room:{x}")) or push["join"]["info"]["user"] != "alice":
            pass
        node, session = client.node, client.session
        client.stream.close()
        while "leave" not in (push := await bob.push(f"room:{x}")):
            pass
        assert push["leave"]["info"]["user"] == "alice"
        assert await emulate(b, node, session, frame_of({}, protobuf=is_binary(kind)), is_binary(kind)) == 404


@pytest.mark.parametrize("at_once", [True, False])
async def test_a_client_that_leaves_behind_further_requests_on_its_socket_is_noticed_too(shared_edge, at_once):
    before = await metric(shared_edge, 'closes_total{code="1006"}')
    first = frame_of({"id": 1, "connect": {"token": token("alice")}})
    more = b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n" * 3 + b"GET /half-a-request"
    async with request(shared_edge, "POST /connection/http_stream", first, behind=more if at_once else b"") as stream:
        stream.say(more)
        assert b'"connect"' in await stream.chunk()
    await eventually(functools.partial(reaches, shared_edge, 'closes_total{code="1006"}', before + 1))
    await eventually(functools.partial(stands_at, shared_edge, "http_streams", 0))


async def test_backends_reach_the_client_by_its_session(shared_pair, kind, x):
    a, b = shared_pair
    async with streaming(a, kind, user=f"user-{x}") as client, connected(b, f"user-{x}") as other:
        call = {"user": f"user-{x}", "session": client.session, "disconnect": {"code": 4321, "reason": "enough"}}
        assert (await api(b, "disconnect", call)).json() == {"result": {}}
        assert await client.closed() == (4321, "enough")
        assert "epoch" in await other.subscribe(f"chat:{x}")


# --- emulation ------------------------------------------------------------------------------------------------------


async def test_sessions_cannot_be_guessed_nor_edges(shared_pair, kind):
    a, b = shared_pair
    pong = frame_of({}, protobuf=is_binary(kind))
    async with streaming(a, kind) as client, streaming(b, kind) as other:
        for edge in shared_pair:
            for session in ("", "x", client.session[:-1], client.session + "x", other.session):
                assert await emulate(edge, client.node, session, pong, is_binary(kind)) == 404
            for node in ("", "x", "*", ">", "a b", client.node + ".x", "0" * 32, "0" * 5000, "\u20ac"):
                assert await emulate(edge, node, client.session, pong, is_binary(kind)) == 404
        assert "epoch" in await client.subscribe("chat:still-there")


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"node":1}', b'{"node":"a","session":"b"}', b"\xff", b"[" * 9999])
async def test_an_emulation_request_that_is_none_gets_400(shared_edge, body):
    answer = await post(shared_edge, "/emulation", body, type_of(False))
    assert answer.status_code == 400 and "expected an emulation request" in answer.text
    assert (await post(shared_edge, "/emulation", body, type_of(True))).status_code == 400


async def test_it_is_for_post_only_and_has_a_limit(shared_edge):
    async with http_client() as http:
        for method in ("GET", "PUT", "DELETE", "HEAD"):
            answer = await http.request(method, f"{shared_edge.url}/emulation")
            assert answer.status_code == 405 and answer.headers["allow"] == "POST, OPTIONS"
    for size in (65537, 300_000, 2_000_000):
        assert (await post(shared_edge, "/emulation", b"x" * size)).status_code == 413
    body = emulation_body("0" * 32, "x", b"")
    assert len(body := body.replace(b'""', b'"' + b"x" * (65536 - len(body)) + b'"')) == 65536
    assert (await post(shared_edge, "/emulation", body)).status_code == 404


async def test_an_edge_that_hangs_is_answered_503(services, nats_server):
    a, b = await start_pair(services, nats_server)
    async with streaming(a, "http_stream") as client:
        a.pause()
        late = frame_of({"id": 5, "unsubscribe": {"channel": "chat:x"}})
        assert await emulate(b, client.node, client.session, late) == 503
        a.resume()
        assert await client.reply(5) == {"unsubscribe": {}}, "it was only late"


async def test_commands_piled_up_behind_one_in_progress_end_the_stream(services, nats_server):
    edge = await start_edge(services, nats_server, "edge-a").ready()
    async with streaming(edge, "http_stream") as client:
        await client.subscribe("chat:x")
        nats_server.pause()
        command = frame_of({"id": 5, "publish": {"channel": "chat:x", "data": "x" * 60_000}})
        statuses = [await emulate(edge, client.node, client.session, command) for _ in range(12)]
        nats_server.resume()
        assert (await client.closed())[0] == 3013
        assert statuses[:8] == [204] * 8
