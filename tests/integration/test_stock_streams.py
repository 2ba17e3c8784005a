"""The stock JavaScript client on its fallback transports, on two edges; its commands go to the other one."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from tests.support.edges import api, connected, in_seconds, start_pair, token
from tests.support.eventually import eventually
from tests.support.processes import ServiceProcess
from tests.support.stock_clients import StockClients, data_of, events_of
from tests.support.stock_js import JsClient

pytestmark = [pytest.mark.integration, pytest.mark.once]


@pytest.fixture(params=[("http_stream", "json"), ("http_stream", "protobuf"), ("sse", "json")], ids="-".join)
def fallback(request, stock: StockClients, monkeypatch: pytest.MonkeyPatch):
    """Makes clients on one of the transports whose stream is at the first edge and whose commands go to the second."""
    transport, encoding = request.param
    monkeypatch.setenv("NODE_OPTIONS", "--experimental-eventsource")  # browsers have it anyway

    def make(stream_at: Any, commands_to: Any, user: str, **options: Any) -> JsClient:
        return stock.make_js(
            [{"transport": transport, "endpoint": f"{stream_at.url}/connection/{transport}"}],
            encoding,
            emulation_endpoint=f"{commands_to.url}/emulation",
            token=token(user, exp=in_seconds(600)),
            **options,
        )

    make.transport = transport  # type: ignore[attr-defined]  # a name to compare with
    return make


def _has(client: JsClient, channel: str, count: int) -> bool:
    return len(data_of(client, channel)) >= count


async def test_it_talks_with_clients_on_websockets(shared_pair, fallback, x):
    a, b = shared_pair
    alice = fallback(a, b, "alice")
    await alice.connect()
    assert events_of(alice, "connected")[0]["transport"] == fallback.transport
    async with connected(b, "bob") as bob:
        for channel in (f"chat:{x}", f"live:{x}"):
            await bob.subscribe(channel)
            await alice.subscribe(channel)
            said = [
                {"n": n, "text": "h\N{LATIN SMALL LETTER E WITH ACUTE}llo\r\n\N{LINE SEPARATOR}"} for n in range(10)
            ]
            for data in said:
                await alice.publish(channel, data)
            assert await bob.publications(channel, 10) == said
            await eventually(functools.partial(_has, alice, channel, 10))
            assert data_of(alice, channel) == said
    assert {event["user"] for event in events_of(alice, "publication")} == {"alice"}
    await alice.unsubscribe(f"live:{x}")
    assert not [event for event in events_of(alice, "connecting") if event["code"]], "in one connection"


async def test_it_comes_back_and_misses_nothing(services, nats_server, fallback):
    a, b = await start_pair(services, nats_server)
    alice = fallback(a, b, "alice")
    await alice.connect()
    await alice.subscribe("chat:x")
    await api(b, "publish", {"channel": "chat:x", "data": 0})
    await eventually(functools.partial(_has, alice, "chat:x", 1))
    a.kill9()
    await eventually(lambda: len(events_of(alice, "connecting")) >= 2)
    for i in range(1, 5):
        await api(b, "publish", {"channel": "chat:x", "data": i})
    a.start()  # its only address; behind a load balancer it would come back at another edge
    await eventually(functools.partial(_has, alice, "chat:x", 5))
    assert data_of(alice, "chat:x") == [0, 1, 2, 3, 4]
    assert [e["recovered"] for e in events_of(alice, "subscribed") if e["was_recovering"]] == [True]


async def test_it_answers_pings_and_reads_why_it_was_closed(services, nats_server, fallback):
    fast = {"FAIRLEAD_CLIENT_PING_INTERVAL": "1s", "FAIRLEAD_CLIENT_PONG_TIMEOUT": "900ms"}
    a, b = await start_pair(services, nats_server, **fast)
    alice = fallback(a, b, "alice")
    await alice.connect()
    await alice.subscribe("chat:x")
    async with connected(b, "clock") as clock:
        for _ in range(3):
            assert await clock.message() == {}
            await clock.send({})
    assert not [event for event in events_of(alice, "connecting") if event["code"]]
    await api(b, "disconnect", {"user": "alice", "disconnect": {"code": 4500, "reason": "enough"}})
    await eventually(lambda: events_of(alice, "disconnected"))
    (end,) = events_of(alice, "disconnected")
    assert (end["code"], end["reason"]) == (4500, "enough")


async def test_a_drained_edge_lets_it_come_back_at_once(services, nats_server, fallback):
    a, b = await start_pair(services, nats_server)
    alice = fallback(a, b, "alice")
    await alice.connect()
    assert await a.stop() == 0
    await eventually(lambda: events_of(alice, "connecting")[-1]["code"] == 1001)
    a.start()
    await eventually(lambda: len(events_of(alice, "connected")) == 2)


# --- behind a proxy --------------------------------------------------------------------------------------------------


@asynccontextmanager
async def joining(edge: ServiceProcess) -> AsyncIterator[str]:
    """The address of a proxy that joins all of a response up to its first event in one chunk, as Traefik may."""

    over = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", edge.port)
        back.write(await reader.readuntil(b"\r\n\r\n"))
        head, body = await there.readuntil(b"\r\n\r\n"), b""
        while b"data:" not in body:
            size = int(await there.readline(), 16)
            body += await there.readexactly(size)
            await there.readexactly(2)
        writer.write(head + b"%x\r\n%b\r\n" % (len(body), body))
        while some := await there.read(65536):
            writer.write(some)
        for socket in (back, writer):
            socket.close()
            with suppress(ConnectionError):  # a client that has ended may reset its connection
                await socket.wait_closed()
        over.set()

    server = await asyncio.start_server(serve, "127.0.0.1")
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        await over.wait()
    finally:
        server.close()


async def test_a_proxy_that_joins_the_beginning_of_a_stream_with_its_first_event_breaks_no_client(
    shared_edge, stock: StockClients, monkeypatch: pytest.MonkeyPatch, x
):
    """The package eventsource 2.x, with which many applications run the SDK in Node and React Native."""
    monkeypatch.setenv("NODE_OPTIONS", "--import=./eventsource.mjs")
    async with joining(shared_edge) as url:
        alice = stock.make_js(
            [{"transport": "sse", "endpoint": f"{url}/connection/sse"}],
            "json",
            emulation_endpoint=f"{shared_edge.url}/emulation",
            token=token(f"alice-{x}"),
        )
        await alice.connect()
        await alice.subscribe(f"chat:{x}")
        await api(shared_edge, "publish", {"channel": f"chat:{x}", "data": 1})
        await eventually(functools.partial(_has, alice, f"chat:{x}", 1))
        await api(shared_edge, "disconnect", {"user": f"alice-{x}"})
