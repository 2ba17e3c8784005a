"""How HTTP streams end: drained, killed, or because their client does not read. On real edges."""

from __future__ import annotations

import asyncio
import functools
import json
from contextlib import AsyncExitStack

import pytest

from tests.support.edges import ANSWER_S, api, connected, start_edge, start_pair, token
from tests.support.eventually import eventually
from tests.support.floods import ENOUGH, flood
from tests.support.http_streams import (
    KINDS,
    emulate,
    frame_of,
    post,
    stream_client,
    streaming,
)
from tests.support.metrics import metric, reaches, stands_at

pytestmark = [pytest.mark.integration, pytest.mark.once]


@pytest.fixture(params=KINDS)
def kind(request):
    """Each kind of bidirectional stream."""
    return request.param


def is_binary(kind: str) -> bool:
    return kind.endswith("protobuf")


# --- going away -----------------------------------------------------------------------------------------------------


async def test_a_drain_tells_every_stream_and_the_edge_ends_in_time(services, nats_server):
    edge = await start_edge(services, nats_server, "edge-a").ready()
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(streaming(edge, kind)) for kind in KINDS for _ in range(10)]
        clients.append(await stack.enter_async_context(stream_client(edge, "uni_sse", uni("bob"))))
        clients.append(await stack.enter_async_context(stream_client(edge, "uni_http_stream", uni("carol"))))
        stalled = await stack.enter_async_context(streaming(edge, "sse", "slow", small=True))
        await stalled.subscribe("big:x")
        await flood(edge, "big:x")
        await eventually(functools.partial(reaches, edge, "lagged_total", 1))
        stopping = asyncio.create_task(edge.stop(within_s=10))
        assert [await client.closed() for client in clients] == [(1001, "shutdown")] * len(clients)
        assert await stopping == 0
        assert "every session event is stored" in edge.log()
    assert "graceful shutdown exceeded" not in edge.log()


def uni(user: str) -> bytes:
    return json.dumps({"token": token(user)}).encode()


async def test_an_edge_that_goes_away_takes_no_new_streams_but_hands_on_commands(services, nats_server):
    slow = {"FAIRLEAD_EDGE_DRAIN_DELAY": "0s", "FAIRLEAD_EDGE_DRAIN_RATE": "1", "FAIRLEAD_EDGE_DRAIN_TIMEOUT": "9s"}
    a = await start_edge(services, nats_server, "edge-a", **slow).ready()
    b = await start_edge(services, nats_server, "edge-b").ready()
    async with streaming(b, "sse", via=a) as client, connected(a) as one, connected(a), connected(a):
        stopping = asyncio.create_task(a.stop())
        await eventually(lambda: "draining: unready, closing" in a.log())
        answer = await post(a, "/connection/http_stream", b"{}")
        assert answer.status_code == 503 and answer.headers["retry-after"] == "1"
        assert "epoch" in await client.subscribe("chat:x")
        assert (await one.closed())[0] == 1001
        assert await stopping == 0


async def test_killed_its_client_recovers_on_the_other_edge(services, nats_server, kind):
    a, b = await start_pair(services, nats_server)
    async with streaming(a, kind, via=b) as client:
        position = await client.subscribe("chat:x")
        await api(b, "publish", {"channel": "chat:x", "data": 1})
        push = await client.push("chat:x")
        a.kill9()
        assert await client.closed() == (1006, "")
        assert await emulate(b, client.node, client.session, frame_of({"id": 3, "ping": {}})) == 404
    await api(b, "publish", {"channel": "chat:x", "data": 2})
    async with streaming(b, kind) as client:
        since = {"recover": True, "epoch": position["epoch"], "offset": push["pub"]["offset"]}
        result = await client.subscribe("chat:x", **since)
        assert result["recovered"] and [pub["data"] for pub in result["publications"]] == [2]


# --- a client that does not read ------------------------------------------------------------------------------------


async def test_a_client_that_does_not_read_catches_up_from_the_log(shared_pair, kind, x):
    a, b = shared_pair
    lagged = await metric(a, "lagged_total")
    async with streaming(a, kind, small=True) as slow:
        await slow.subscribe(f"big:{x}")
        await flood(b, f"big:{x}")
        await eventually(functools.partial(reaches, a, "lagged_total", lagged + 1))
        assert [data[0] for data in await slow.publications(f"big:{x}", ENOUGH)] == list(range(ENOUGH))
        await api(b, "publish", {"channel": f"big:{x}", "data": ["live", ""]})
        assert (await slow.publications(f"big:{x}", 1))[0][0] == "live"


async def test_a_client_that_takes_nothing_for_too_long_is_closed_with_its_socket(services, nats_server, kind):
    edge = await start_edge(services, nats_server, "edge-a", FAIRLEAD_CLIENT_SLOW_CLOSE_DELAY="1s").ready()
    async with streaming(edge, kind, small=True) as slow:
        await slow.subscribe("big:x")
        await flood(edge, "big:x")
        await eventually(functools.partial(stands_at, edge, 'closes_total{code="3008"}', 1))
        await eventually(functools.partial(stands_at, edge, "connections", 0))
        await eventually(functools.partial(stands_at, edge, "http_streams", 0))
        with pytest.raises(ConnectionResetError):  # it reads the rest of its socket, and no more comes
            while True:
                await asyncio.wait_for(slow.stream.read_some(), ANSWER_S)


async def test_a_client_that_does_not_read_channels_without_history_is_slow(shared_pair, x):
    a, b = shared_pair
    before = await metric(a, 'closes_total{code="3008"}')
    async with streaming(a, "http_stream", small=True) as slow:
        await slow.subscribe(f"live:{x}")
        await flood(b, f"live:{x}")
        await eventually(functools.partial(reaches, a, 'closes_total{code="3008"}', before + 1))
