"""Unidirectional clients: they authenticate once, and get pushes. On every transport for them, on real edges."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote, urlencode

import pytest
import websockets

from tests.support.edges import ANSWER_S, WireClient, api, connected, in_seconds, start_edge, start_pair, token
from tests.support.http_streams import StreamClient, emulate, request, stream_client

pytestmark = [pytest.mark.integration, pytest.mark.once]

PING = {"FAIRLEAD_CLIENT_PING_INTERVAL": "1s", "FAIRLEAD_CLIENT_PONG_TIMEOUT": "500ms"}


@pytest.fixture(params=["uni_websocket", "uni_sse", "uni_http_stream"])
def kind(request):
    """Each unidirectional transport."""
    return request.param


@asynccontextmanager
async def listening(edge, kind: str, first: bytes):
    """A client that has sent its connect request; `message` returns its pushes."""
    if kind != "uni_websocket":
        async with stream_client(edge, kind, first) as client:
            yield client
        return
    url = edge.ws_url.replace("websocket", kind)
    async with websockets.connect(url, compression=None, open_timeout=ANSWER_S) as socket:
        await socket.send(first)
        yield WireClient(socket)


def words(user: str = "alice", **more: Any) -> bytes:
    """A `ConnectRequest` with a token."""
    claims = more.pop("claims", {})
    return json.dumps({"token": token(user, **claims), **more}).encode()


async def data_of(client: WireClient, channel: str, count: int) -> list[Any]:
    """The data of the next publications, pings left out."""
    data: list[Any] = []
    while len(data) < count:
        if message := await client.message():
            assert message["channel"] == channel, message
            data.append(message["pub"]["data"])
    return data


async def test_it_gets_pushes_without_a_wrapper(shared_pair, kind, x):
    a, b = shared_pair
    async with listening(a, kind, words(subs={f"chat:{x}": {}})) as client, connected(b, "bob") as bob:
        connect = (await client.message())["connect"]
        assert connect["client"] and connect["version"].startswith("Fairlead ")
        assert connect["ping"] == 25 and "pong" not in connect and connect["session"] and connect["node"]
        assert connect["subs"][f"chat:{x}"]["recoverable"]
        await bob.subscribe(f"chat:{x}")
        await bob.ask_in_any_order(publish={"channel": f"chat:{x}", "data": {"t": "hi"}})
        message = await client.message()
        assert message["channel"] == f"chat:{x}" and message["pub"]["data"] == {"t": "hi"}
        assert message["pub"]["info"]["user"] == "bob" and set(message) == {"channel", "pub"}


async def test_channels_may_come_from_the_token(shared_pair, kind, x):
    a, b = shared_pair
    claims = {"subs": {f"closed:{x}": {}, f"live:{x}": {"data": {"hello": 1}}}}
    async with listening(a, kind, words(claims=claims)) as client:
        subs = (await client.message())["connect"]["subs"]
        assert set(subs) == {f"closed:{x}", f"live:{x}"} and subs[f"live:{x}"]["data"] == {"hello": 1}
        await api(b, "publish", {"channel": f"closed:{x}", "data": [1]})
        assert await data_of(client, f"closed:{x}", 1) == [[1]]


async def test_pings_come_and_no_pong_is_missed(services, nats_server, kind):
    edge = await start_edge(services, nats_server, "edge-a", **PING).ready()
    async with listening(edge, kind, words()) as client:
        assert (await client.message())["connect"]["ping"] == 1
        for _ in range(3):
            assert await client.message() == {}


@pytest.mark.parametrize(
    ("first", "code"),
    [
        (lambda: words(claims={"exp": in_seconds(-5)}), 3005),
        (lambda: words(subs={"closed:x": {}}), 3507),
        (lambda: words(subs={"nope:x": {}}), 3004),
        (lambda: json.dumps({"token": "garbage"}).encode(), 3500),
        (lambda: b"{}", 3501),  # no token, and no anonymous connects
        (lambda: b"no JSON", 3501),
        (lambda: b'{"token":1}', 3501),
        (lambda: b'{"id":1,"connect":{"token":"x"}}', 3501),
    ],
)
async def test_an_error_of_connect_is_a_disconnect(shared_edge, kind, first, code):
    async with listening(shared_edge, kind, first()) as client:
        got, reason = await client.closed()
        last = await client.message()
        assert got == code and last == {"disconnect": {"code": code, "reason": reason}}


async def test_the_first_words_may_be_in_the_address_or_missing(services, nats_server):
    anonymous = {"FAIRLEAD_CLIENT_ALLOW_ANONYMOUS_CONNECT_WITHOUT_TOKEN": "true"}
    edge = await start_edge(services, nats_server, "edge-a", **anonymous).ready()
    async with request(edge, "GET /connection/uni_sse") as stream:
        client = StreamClient(stream, "uni_sse", edge)
        assert (await client.message())["connect"]["client"]
    for path in ("uni_sse", "uni_http_stream"):
        async with request(edge, f"POST /connection/{path}", words()) as stream:
            assert (await StreamClient(stream, path, edge).message())["connect"]["client"]
    url = f"{edge.ws_url.replace('websocket', 'uni_websocket')}?{urlencode({'cf_connect': words().decode()})}"
    async with websockets.connect(url, compression=None) as socket:
        assert (await WireClient(socket).message())["connect"]["client"]
    async with listening(edge, "uni_websocket", b"") as client:
        assert (await client.message())["connect"]["client"]


async def test_further_messages_of_a_client_on_a_websocket_are_ignored(shared_edge, x):
    async with listening(shared_edge, "uni_websocket", words(subs={f"live:{x}": {}})) as client:
        await client.message()
        for said in (words(), b"{}", b"no JSON", '{"id":1,"publish":{"channel":"live:x","data":1}}'):
            await client.socket.send(said)
        await api(shared_edge, "publish", {"channel": f"live:{x}", "data": 1})
        assert await data_of(client, f"live:{x}", 1) == [1]


async def test_nobody_can_speak_for_it(shared_pair, kind, x):
    a, b = shared_pair
    async with listening(a, kind, words(subs={f"live:{x}": {}})) as client:
        connect = (await client.message())["connect"]
        command = json.dumps({"id": 1, "publish": {"channel": f"live:{x}", "data": 1}}).encode()
        for edge in (a, b):
            assert await emulate(edge, connect["node"], connect["session"], command) == 404


async def test_a_backend_ends_a_subscription_or_the_connection(shared_pair, kind, x):
    a, b = shared_pair
    async with listening(a, kind, words(f"user-{x}", subs={f"chat:{x}": {}})) as client:
        session = (await client.message())["connect"]["session"]
        await api(b, "unsubscribe", {"user": f"user-{x}", "channel": f"chat:{x}"})
        ended = await client.message()
        assert ended["channel"] == f"chat:{x}" and ended["unsubscribe"]["code"] == 2000
        await api(b, "disconnect", {"user": f"user-{x}", "session": session})
        assert await client.closed() == (3503, "force disconnect")


async def test_killed_its_client_recovers_on_the_other_edge(services, nats_server, kind):
    a, b = await start_pair(services, nats_server)
    async with listening(a, kind, words(subs={"chat:x": {}})) as client:
        since = (await client.message())["connect"]["subs"]["chat:x"]
        for i in range(3):
            await api(b, "publish", {"channel": "chat:x", "data": i})
        assert (await client.message())["pub"]["data"] == 0
        offset = (await client.message())["pub"]["offset"]
        a.kill9()
        await client.closed()
    await api(b, "publish", {"channel": "chat:x", "data": 3})
    position = {"recover": True, "epoch": since["epoch"], "offset": offset}
    async with listening(b, kind, words(subs={"chat:x": position})) as client:
        result = (await client.message())["connect"]["subs"]["chat:x"]
        assert result["recovered"] and [pub["data"] for pub in result["publications"]] == [2, 3]
        await api(b, "publish", {"channel": "chat:x", "data": 4})
        assert await data_of(client, "chat:x", 1) == [4]


async def test_a_large_recovery_comes_in_parts_and_in_order(shared_pair, kind, x):
    a, b = shared_pair
    for i in range(20):
        await api(b, "publish", {"channel": f"big:{x}", "data": [i, "x" * 100_000]})
    recover = {"recover": True, "epoch": "", "offset": 0}
    async with listening(a, kind, words(subs={f"big:{x}": recover})) as client:
        result = (await client.message())["connect"]["subs"][f"big:{x}"]
        seen = [pub["data"][0] for pub in result["publications"]]
        assert result["recovered"] and len(seen) < 20
        seen += [data[0] for data in await data_of(client, f"big:{x}", 20 - len(seen))]
        assert seen == list(range(20))


async def test_on_a_websocket_native_pings_find_out_who_is_gone(services, nats_server):
    edge = await start_edge(services, nats_server, "edge-a", **PING).ready()
    reader, writer = await asyncio.open_connection("127.0.0.1", edge.port)
    writer.write(
        b"GET /connection/uni_websocket?cf_connect=" + quote(words()).encode() + b" HTTP/1.1\r\nHost: x\r\n"
        b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        b"Sec-WebSocket-Version: 13\r\n\r\n"
    )
    try:  # it reads on, and answers no ping
        heard = await asyncio.wait_for(reader.read(-1), ANSWER_S)
    finally:
        writer.close()
    assert b"\x81\x02{}\x89\x00" in heard, "each ping has a native one beside it"
    assert b'{"disconnect":{"code":3012,"reason":"no pong"}}' in heard
