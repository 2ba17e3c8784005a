"""A client that does not read: others do not notice, nothing piles up, and with history it misses nothing."""

from __future__ import annotations

import asyncio
import json
import socket

import pytest
import websockets

from tests.support.edges import ANSWER_S, WireClient, api, connected, start_edge, token
from tests.support.eventually import eventually
from tests.support.floods import ENOUGH, PAYLOAD, flood
from tests.support.metrics import metric, reaches, series

pytestmark = [pytest.mark.integration, pytest.mark.once]


async def stalled(edge, *channels: str) -> WireClient:
    """A subscribed client whose socket takes little, and that reads nothing unless it is asked to."""
    small = socket.socket()
    small.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    small.setblocking(False)
    await asyncio.get_running_loop().sock_connect(small, ("127.0.0.1", edge.port))
    ws = await websockets.connect(
        edge.ws_url, sock=small, compression=None, max_queue=1, max_size=None, ping_interval=None
    )
    client = WireClient(ws)
    await client.ask(connect={"token": token("slow")})
    for channel in channels:
        await client.subscribe(channel)
    return client


async def test_with_history_it_is_brought_up_again_from_the_log_and_nobody_else_waits(shared_pair, x):
    a, b = shared_pair
    channel = f"big:{x}"
    slow = await stalled(a, channel)
    async with connected(a, "fast") as fast:
        await fast.subscribe(channel)
        flooding = asyncio.create_task(flood(b, channel))
        assert [data[0] for data in await fast.publications(channel, ENOUGH)] == list(range(ENOUGH))
        await flooding
        assert await metric(a, "lagged_total") >= 1
        memory = await series(a, "process_resident_memory_bytes")
        assert [data[0] for data in await slow.publications(channel, ENOUGH)] == list(range(ENOUGH))
        await eventually(lambda: reaches(a, "caught_up_total", 1))
        await api(b, "publish", {"channel": channel, "data": ["live", ""]})
        assert (await slow.publications(channel, 1))[0][0] == "live", "it is an ordinary subscriber again"
        assert memory < 400e6
    await slow.socket.close()


async def test_without_history_it_is_disconnected_as_slow(shared_pair, x):
    a, b = shared_pair
    slow = await stalled(a, f"live:{x}")
    await flood(b, f"live:{x}")
    # It reads too late to find the close frame, but it is not kept.
    await eventually(lambda: reaches(a, 'closes_total{code="3008"}', 1))
    await slow.closed()


async def test_without_history_and_with_the_policy_drop_it_misses_some_and_stays(shared_pair, x):
    a, b = shared_pair
    slow = await stalled(a, f"lossy:{x}")
    await flood(b, f"lossy:{x}")
    await eventually(lambda: reaches(a, "dropped_total", 1))
    seen: list[int] = []
    ender = asyncio.create_task(_publish_on(b, f"lossy:{x}"))
    while not seen or seen[-1] != -1:
        number = (await slow.publications(f"lossy:{x}", 1))[0][0]
        seen.append(-1 if number == "end" else number)
    ender.cancel()
    numbers = [number for number in seen if number >= 0]
    assert numbers == sorted(set(numbers)) and len(numbers) < ENOUGH
    await slow.socket.close()


async def _publish_on(edge, channel: str) -> None:
    while True:
        await api(edge, "publish", {"channel": channel, "data": ["end", ""]})


async def test_a_client_that_takes_nothing_for_too_long_is_let_go(services, nats_server):
    edge = await start_edge(services, nats_server, "edge-a", FAIRLEAD_CLIENT_SLOW_CLOSE_DELAY="1s").ready()
    slow = await stalled(edge, "big:x")
    await flood(edge, "big:x")
    await eventually(lambda: reaches(edge, 'closes_total{code="3008"}', 1))
    await asyncio.wait_for(slow.closed(), ANSWER_S)


async def test_a_client_that_sends_without_reading_gets_no_replies_piled_up(shared_edge, x):
    """One small frame of a hundred commands, whose replies would be 100 MB."""
    for i in range(10):
        await api(shared_edge, "publish", {"channel": f"chat:{x}", "data": [i, PAYLOAD]})
    client = await stalled(shared_edge, f"chat:{x}")
    lagged, written = await metric(shared_edge, "lagged_total"), await metric(shared_edge, "bytes_out_total")
    ask = json.dumps({"id": 1, "history": {"channel": f"chat:{x}", "limit": -1}})
    await client.socket.send("\n".join([ask] * 100))
    await eventually(lambda: reaches(shared_edge, "lagged_total", lagged + 1))
    async with connected(shared_edge, "other") as other:  # which is served as ever
        for _ in range(600):
            await other.ask(publish={"channel": f"live:{x}", "data": 1})
    assert await metric(shared_edge, "bytes_out_total") - written < 20e6
    for _ in range(100):
        assert len((await client.reply(1))["history"]["publications"]) == 5, "as many as fit into 512 KiB"
    await client.socket.close()


async def test_a_subscription_made_while_the_client_lags_misses_nothing(shared_pair, x):
    a, b = shared_pair
    await flood(b, f"big:{x}-a", 60)
    client = await stalled(a)
    subscribed = await metric(a, "subscriptions")
    recover = {"recover": True, "epoch": "", "offset": 0}
    await client.send(
        {"id": 1, "subscribe": {"channel": f"big:{x}-a", **recover}},
        {"id": 2, "subscribe": {"channel": f"big:{x}-b"}},
    )
    await eventually(lambda: reaches(a, "subscriptions", subscribed + 1))
    offsets = [
        (await api(b, "publish", {"channel": f"big:{x}-b", "data": [i, ""]})).json()["result"]["offset"]
        for i in range(3)
    ]
    first = (await client.reply(1))["subscribe"]
    seen = [pub["data"][0] for pub in first["publications"]]
    while len(seen) < 60:
        seen += [data[0] for data in await client.publications(f"big:{x}-a", 1)]
    assert seen == list(range(60))
    second = (await client.reply(2))["subscribe"]
    owed = [number for number, offset in enumerate(offsets) if offset > second["offset"]]
    await api(b, "publish", {"channel": f"big:{x}-b", "data": ["live", ""]})
    got = [data[0] for data in await client.publications(f"big:{x}-b", len(owed) + 1)]
    assert got == [*owed, "live"]
    await client.socket.close()
