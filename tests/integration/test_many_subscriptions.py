"""Clients with as many subscriptions as `client.channel_limit` allows come back, on every transport."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.support.edges import in_seconds, start_edge_in_memory, token, wire_client
from tests.support.eventually import eventually
from tests.support.http_streams import frame_of, stream_client
from tests.support.processes import ServiceProcess, Services
from tests.support.stock_clients import StockClients, events_of

pytestmark = [pytest.mark.integration, pytest.mark.native]

LIMIT = 256
LONGEST = 255


@pytest.fixture
async def edge(services: Services) -> AsyncIterator[ServiceProcess]:
    yield await start_edge_in_memory(services, FAIRLEAD_CLIENT_CHANNEL_LIMIT=str(LIMIT)).ready()


def long_names(count: int, size: int) -> list[str]:
    return [f"chat:{number:05}".ljust(size, "n") for number in range(count)]


@pytest.mark.parametrize("encoding", ["json", "protobuf"])
async def test_a_javascript_client_with_all_subscriptions_comes_back(edge, stock: StockClients, encoding: str) -> None:
    alice = stock.make_js(edge.ws_url, encoding, token=token("alice", exp=in_seconds(600)))
    channels = long_names(LIMIT, LONGEST)
    for channel in channels:
        await alice.subscribe(channel, wait=False)
    await alice.connect()
    await eventually(lambda: all(events_of(alice, "subscribed", channel) for channel in channels))
    await alice.disconnect()
    alice.events.clear()
    await alice.connect()
    await eventually(lambda: all(events_of(alice, "subscribed", channel) for channel in channels))
    assert not events_of(alice, "disconnected")
    assert all(events_of(alice, "subscribed", channel)[0]["recovered"] for channel in channels)


def coming_back(channels: list[str]) -> bytes:
    """The first words of a client whose token has these server-side channels, and that was there before."""
    position = {"recover": True, "epoch": "e" * 16, "offset": 2**40}
    connect = {"token": token("alice", channels=channels), "subs": dict.fromkeys(channels, position)}
    return frame_of({"id": 1, "connect": connect})


@pytest.mark.parametrize(("count", "size"), [(100, 55), (LIMIT, 80)])
@pytest.mark.parametrize("kind", ["sse", "http_stream"])
async def test_a_stream_with_many_server_side_channels_comes_back(edge, kind: str, count: int, size: int) -> None:
    channels = long_names(count, size)
    async with stream_client(edge, kind, coming_back(channels)) as client:
        assert sorted((await client.reply(1))["connect"]["subs"]) == channels


async def test_so_does_a_websocket(edge) -> None:
    channels = long_names(LIMIT, 120)
    async with wire_client(edge) as client:
        await client.socket.send(coming_back(channels).decode())
        assert sorted((await client.reply(1))["connect"]["subs"]) == channels
