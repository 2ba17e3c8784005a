"""An edge that comes to its memory limits: not ready, then without the clients who take most, who lose nothing.

The memory goes to the rings of channels: a publication of 60 KB fills one. It is free again when nobody is subscribed.
"""

from __future__ import annotations

import asyncio
import socket
from contextlib import AsyncExitStack

import pytest
import websockets

from tests.support.balancer import balanced
from tests.support.edges import WireClient, api, connected, in_seconds, start_edge, token
from tests.support.eventually import eventually
from tests.support.floods import flood
from tests.support.metrics import metric, reaches, stands_at
from tests.support.plain_http import http_client
from tests.support.processes import ServiceProcess
from tests.support.stock_clients import KINDS, StockClient, StockClients, data_of, events_of

pytestmark = [pytest.mark.integration, pytest.mark.once, pytest.mark.timeout(120)]

MB = 1_000_000
LARGE = "x" * 60_000


@pytest.fixture
async def used(services, nats_server) -> float:
    """What an edge uses that has had a client."""
    probe = await start_edge(services, nats_server, "probe").ready()
    async with connected(probe) as client:
        await client.subscribe("chat:probe")
        await api(probe, "publish", {"channel": "chat:probe", "data": LARGE})
        await client.publications("chat:probe", 1)
    used = await metric(probe, "memory_used_bytes")
    probe.kill9()
    return used


def limits(soft: float, hard: float) -> dict[str, str]:
    return {
        "FAIRLEAD_EDGE_MEMORY_SOFT_LIMIT": f"{soft:.0f}",
        "FAIRLEAD_EDGE_MEMORY_HARD_LIMIT": f"{hard:.0f}",
        "FAIRLEAD_CLIENT_PING_INTERVAL": "0",  # the clients of these tests do not answer
    }


async def readiness(edge: ServiceProcess) -> str:
    async with http_client() as http:
        return (await http.get(f"{edge.url}/readyz")).text


async def above_the_soft_limit(edge: ServiceProcess) -> bool:
    return await metric(edge, "memory_used_bytes") > await metric(edge, "memory_soft_limit_bytes")


async def within_the_limit(edge: ServiceProcess) -> bool:
    return await metric(edge, "memory_used_bytes") <= await metric(edge, "memory_hard_limit_bytes")


async def stalled(edge: ServiceProcess, channel: str) -> WireClient:
    """A subscriber that reads nothing any more."""
    small = socket.socket()
    small.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    small.setblocking(False)
    await asyncio.get_running_loop().sock_connect(small, ("127.0.0.1", edge.port))
    ws = await websockets.connect(
        edge.ws_url, sock=small, compression=None, max_queue=1, max_size=None, ping_interval=None
    )
    client = WireClient(ws)
    await client.ask(connect={"token": token("slow")})
    await client.subscribe(channel)
    return client


async def test_above_the_soft_limit_it_is_not_ready_while_another_edge_has_room(services, nats_server, used):
    # What a process has freed it gives back only in part: the limit is so far above what it uses that most has to be.
    edge = await start_edge(services, nats_server, "edge-a", **limits(used + 30 * MB, 0)).ready()
    async with connected(edge) as reader:
        await reader.subscribe("chat:quiet")
        async with AsyncExitStack() as fillers:
            for name in range(6):
                client = await fillers.enter_async_context(connected(edge, f"filler-{name}"))
                for part in range(30):
                    channels = [f"big:{name}-{part}-{number}" for number in range(4)]
                    for channel in channels:
                        await client.subscribe(channel)
                    await api(edge, "broadcast", {"channels": channels, "data": LARGE})
                    for _ in channels:
                        assert (await client.message())["push"]["pub"]["data"] == LARGE
            await eventually(lambda: above_the_soft_limit(edge))
            assert await readiness(edge) == "ready\n", "there is no other edge"
            other = await start_edge(services, nats_server, "edge-b").ready()
            await eventually(lambda: stands_at(edge, "ready", 0))
            reason = "memory is above edge.memory_soft_limit, and another edge has room"
            assert await readiness(edge) == f"not ready: {reason}\n"
            assert await readiness(other) == "ready\n"
            assert await metric(edge, 'memory_part_bytes{part="rings"}') > 720 * len(LARGE)
            await api(edge, "publish", {"channel": "chat:quiet", "data": "still here"})
            assert await reader.publications("chat:quiet", 1) == ["still here"]
            async with connected(edge) as newcomer:  # one that comes all the same
                await newcomer.subscribe("chat:quiet")
        await eventually(lambda: stands_at(edge, "ready", 1), within_s=60)  # its channels close after 15 s
        assert await readiness(edge) == "ready\n"
        await api(edge, "publish", {"channel": "chat:quiet", "data": "as before"})
        assert await reader.publications("chat:quiet", 1) == ["as before"]
    assert await metric(edge, "shed_total") == 0


async def test_above_the_hard_limit_clients_go_the_slow_ones_first_and_come_back_elsewhere_with_everything(
    services, nats_server, used, stock: StockClients
):
    hard = used + 4 * MB
    a = await start_edge(services, nats_server, "edge-a", **limits(hard, hard)).ready()
    b = await start_edge(services, nats_server, "edge-b").ready()
    async with balanced([a, b]) as url, connected(a) as bystander:
        await bystander.subscribe("chat:x")
        clients = {kind: stock.make(kind, url, token=token(kind, exp=in_seconds(600))) for kind in KINDS}
        own = {kind: [f"big:{kind}-{number}" for number in range(30)] for kind in KINDS}
        for kind, client in clients.items():
            await client.connect()
            for channel in ("chat:x", *own[kind]):
                await client.subscribe(channel)
        slow = await stalled(a, "big:slow")
        assert await metric(a, "connections") == len(clients) + 2
        await flood(b, "big:slow", 60)
        await eventually(lambda: stands_at(a, "slow_clients", 1))

        published = 0
        for channels in zip(*own.values(), strict=True):
            for channel in channels:
                await api(b, "publish", {"channel": channel, "data": LARGE})
                await api(b, "publish", {"channel": "chat:x", "data": published})
                published += 1

        def let_go() -> list[StockClient]:
            return [each for each in clients.values() if any(e["code"] == 3011 for e in events_of(each, "connecting"))]

        await eventually(let_go)
        await eventually(lambda: within_the_limit(a), within_s=60)
        await api(b, "publish", {"channel": "chat:x", "data": published})

        async def all_have_everything() -> None:
            for kind, client in clients.items():
                assert data_of(client, "chat:x") == list(range(published + 1))
                assert [data_of(client, channel) for channel in own[kind]] == [[LARGE]] * len(own[kind])
            assert await metric(b, "connections") == len(let_go())

        await eventually(all_have_everything, within_s=30)
        assert all(not events_of(client, "disconnected") for client in clients.values())
        assert await metric(b, "unrecovered_total") == 0
        assert await metric(a, "shed_total") == len(let_go()) + 1 == await metric(a, 'closes_total{code="3011"}')
        assert await bystander.publications("chat:x", published + 1) == list(range(published + 1)), "it could stay"
        assert await reaches(a, "connections", 1)
        slow.socket.transport.abort()
