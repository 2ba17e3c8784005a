"""NATS away, hanging, killed: clients stay, publishes say so, and nothing that was acknowledged is lost."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable

import pytest

from tests.support.edges import api, connected, start_edge
from tests.support.eventually import eventually
from tests.support.plain_http import http_client

pytestmark = pytest.mark.integration


async def ready(edge) -> int:
    async with http_client() as http:
        return (await http.get(f"{edge.url}/readyz")).status_code


async def test_while_nats_is_away_clients_stay_and_publishes_get_the_temporary_error(edge, nats_server):
    async with connected(edge) as client:
        await client.subscribe("chat:x")
        nats_server.kill9()
        await eventually(lambda: _is(ready(edge), 503))
        for channel in ("chat:x", "live:x"):
            reply = await client.ask(publish={"channel": channel, "data": 1})
            assert reply["error"] == {"code": 100, "message": "internal server error", "temporary": True}
        assert (await client.ask(subscribe={"channel": "chat:new"}))["error"]["code"] == 100
        assert (await api(edge, "publish", {"channel": "chat:x", "data": 1})).json()["error"]["code"] == 100
        async with connected(edge, "latecomer"):
            pass  # connecting needs no NATS
        nats_server.start()
        await eventually(lambda: _is(ready(edge), 200))
        assert "error" not in await client.ask_in_any_order(publish={"channel": "chat:x", "data": 2})
        assert await client.publications("chat:x", 1) == [2]
        await client.subscribe("chat:new")


async def test_no_acknowledged_publication_is_lost_or_doubled_when_nats_is_killed(pair, nats_server):
    a, b = pair
    acked: list[int] = []
    async with connected(a, "reader") as reader, connected(b, "writer") as writer:
        await reader.subscribe("big:x")
        done = asyncio.Event()

        async def publish_on() -> None:
            number = 0
            while not done.is_set():
                number += 1
                answer = await api(b, "publish", {"channel": "big:x", "data": number})
                if "result" in answer.json():
                    acked.append(number)

        work = asyncio.create_task(publish_on())
        for enough in (50, 150):
            await eventually(functools.partial(lambda least: len(acked) > least, enough), within_s=30)
            nats_server.kill9()
            nats_server.start()
        await eventually(lambda: len(acked) > 250, within_s=30)
        done.set()
        await work
        seen: list[int] = []
        while not seen or seen[-1] < acked[-1]:
            seen += await reader.publications("big:x", 1)
        assert seen == sorted(set(seen)), "in order, none twice"
        assert set(acked) <= set(seen), "none lost"
        assert (await writer.subscribe("big:x"))["offset"]


async def test_a_hanging_nats_is_noticed_and_left_behind(edge, nats_server):
    async with connected(edge) as client:
        await client.subscribe("chat:x")
        nats_server.pause()
        reply = await client.ask(publish={"channel": "chat:x", "data": 1})
        assert reply["error"]["code"] == 100, "before the SDK gives up on the command"
        await eventually(lambda: _is(ready(edge), 503), within_s=20)
        nats_server.resume()
        await eventually(lambda: _is(ready(edge), 200))

        async def publishes() -> None:
            assert "error" not in await client.ask_in_any_order(publish={"channel": "chat:x", "data": 2})

        await eventually(publishes)  # streams may be used again a moment after the connection


async def test_an_edge_that_is_there_before_nats_waits_for_it(services, nats_server):
    nats_server.stop()
    edge = start_edge(services, nats_server, "edge-a")
    async with http_client() as http:

        async def is_alive() -> bool:
            return (await http.get(f"{edge.url}/livez")).status_code == 200

        await eventually(is_alive, within_s=20)
        assert (await http.get(f"{edge.url}/readyz")).text == "not ready: starting: waiting for NATS and its streams\n"
    await eventually(lambda: "WARNING edge-a: waiting for NATS at 127.0.0.1:" in edge.log())
    nats_server.start()
    await edge.ready()
    async with connected(edge) as client:
        await client.subscribe("chat:x")


async def test_an_edge_ends_in_order_while_nats_is_away(edge, nats_server):
    async with connected(edge) as client:
        await client.subscribe("chat:x")
        nats_server.kill9()
        await eventually(lambda: _is(ready(edge), 503))
        stopping = asyncio.create_task(edge.stop(within_s=15))
        assert await client.closed() == (1001, "shutdown")
        assert await stopping == 0
    assert "did not acknowledge all session events" in edge.log()


async def _is(status: Awaitable[int], wanted: int) -> bool:
    return await status == wanted
