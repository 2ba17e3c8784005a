"""Compression of WebSockets, with the `websockets` package as the client of a real edge."""

from __future__ import annotations

import asyncio
import json

import pytest
import websockets
from websockets.asyncio.client import ClientConnection
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory

from tests.support.edges import ANSWER_S, WireClient, connected, start_edge

pytestmark = [pytest.mark.integration, pytest.mark.once]

LONG = {"text": "again and " * 500}


@pytest.fixture
async def squeezing(services, nats_server):
    """An edge with compression."""
    edge = start_edge(services, nats_server, "edge-a", FAIRLEAD_CLIENT_COMPRESSION="true")
    return await edge.ready()


def opened(edge, **options) -> websockets.connect:
    return websockets.connect(edge.ws_url, open_timeout=ANSWER_S, **options)


def agreed(socket: ClientConnection) -> str:
    assert socket.response is not None
    return str(socket.response.headers.get("Sec-WebSocket-Extensions", ""))


async def talker(socket: ClientConnection) -> WireClient:
    client = WireClient(socket)
    await client.connect("alice")
    return client


async def test_long_publications_go_both_ways(squeezing):
    async with (
        opened(squeezing, compression="deflate") as writes,
        opened(squeezing, compression="deflate") as reads,
        connected(squeezing, "bob", "json") as plain,
    ):
        assert "server_no_context_takeover; client_no_context_takeover" in agreed(reads)
        writer, reader = await talker(writes), await talker(reads)
        await reader.subscribe("optional:x")
        await plain.subscribe("optional:x")
        for number in range(3):  # nothing is carried over from one message to the next
            assert "error" not in await writer.ask(publish={"channel": "optional:x", "data": {"n": number, **LONG}})
        for each in (reader, plain):
            assert await each.publications("optional:x", 3) == [{"n": number, **LONG} for number in range(3)]


async def test_a_client_with_a_small_window_reads_them(squeezing):
    small = ClientPerMessageDeflateFactory(server_max_window_bits=9, client_max_window_bits=9)
    async with (
        opened(squeezing, compression=None, extensions=[small]) as reads,
        connected(squeezing, "bob", "json") as writer,
    ):
        assert agreed(reads).endswith("server_max_window_bits=9")
        reader = await talker(reads)
        await reader.subscribe("optional:x")
        await writer.ask(publish={"channel": "optional:x", "data": LONG})
        assert await reader.publications("optional:x", 1) == [LONG]


async def test_a_bomb_ends_with_1009(squeezing):
    async with opened(squeezing, compression="deflate", close_timeout=ANSWER_S) as socket:
        await socket.send(json.dumps({"id": 1, "rpc": {"data": "x" * 1_000_000}}))
        with pytest.raises(websockets.ConnectionClosedError) as closed:
            await asyncio.wait_for(socket.recv(), ANSWER_S)
        assert closed.value.rcvd is not None and closed.value.rcvd.code == 1009


async def test_unless_it_is_switched_on_it_is_declined(edge):
    async with opened(edge, compression="deflate") as socket:
        assert agreed(socket) == ""
        await WireClient(socket).connect("alice")
