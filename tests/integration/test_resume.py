"""A client gets the publications it missed once and in order, on any edge, whatever happened to its own."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.support.edges import WireClient, connected, start_edge, wire_client
from tests.support.eventually import eventually

pytestmark = [pytest.mark.integration, pytest.mark.once, pytest.mark.usefixtures("encoding")]


async def publish(client: WireClient, channel: str, values: list[Any]) -> None:
    """Publishes and waits for every acknowledgement; the client is subscribed to the channel."""
    await client.send(
        *({"id": i + 1, "publish": {"channel": channel, "data": value}} for i, value in enumerate(values))
    )
    waiting = len(values)
    while waiting:
        message = await client.message()
        assert "error" not in message, message
        waiting -= message.get("publish") == {}


async def test_a_client_resumes_on_another_edge_after_kill_9(pair, services):
    a, b = pair
    async with connected(b, "writer") as writer:
        await writer.subscribe("chat:x")
        async with connected(a) as reader:
            start = await reader.subscribe("chat:x")
            await publish(writer, "chat:x", [0, 1, 2])
            last = [(await reader.push("chat:x"))["pub"] for _ in range(3)][-1]
            a.kill9()
            assert (await reader.closed())[0] == 1006
        await publish(writer, "chat:x", [3, 4, 5])
        async with connected(b) as reader:
            back = await reader.subscribe("chat:x", recover=True, epoch=start["epoch"], offset=last["offset"])
            assert back["recovered"] and back["was_recovering"] and back["offset"] == last["offset"]
            assert [pub["data"] for pub in back["publications"]] == [3, 4, 5]
            await publish(writer, "chat:x", [6])
            assert await reader.publications("chat:x", 1) == [6]


async def test_beyond_the_history_a_client_is_told(shared_pair, x):
    a, b = shared_pair
    async with connected(a, "writer") as writer, connected(b) as reader:
        start = await writer.subscribe(f"chat:{x}")
        await publish(writer, f"chat:{x}", list(range(250)))  # 200 are kept
        back = await reader.subscribe(f"chat:{x}", recover=True, epoch=start["epoch"], offset=start["offset"])
        assert back["was_recovering"] and "recovered" not in back and "publications" not in back
        assert back["offset"] > start["offset"]
        await reader.ask(unsubscribe={"channel": f"chat:{x}"})
        refused = await reader.ask(
            subscribe={"channel": f"chat:{x}", "recover": True, "epoch": "_", "offset": 0, "flag": 2}
        )
        assert refused["error"]["code"] == 112


async def test_no_publication_is_lost_or_doubled_while_clients_move_between_edges(shared_pair, x):
    a, _ = shared_pair
    channel, total = f"chat:{x}", 150
    async with connected(a, "writer") as writer:
        await writer.subscribe(channel)
        started: set[int] = set()
        movers = [asyncio.create_task(_move(shared_pair, channel, total, 5 + i, started)) for i in range(4)]
        await eventually(lambda: len(started) == 4)
        for i in range(total):
            await publish(writer, channel, [i])
        for seen in await asyncio.gather(*movers):
            assert seen == list(range(total))


async def _move(edges, channel: str, total: int, hop: int, started: set[int]) -> list[int]:
    """A client that leaves after each `hop` publications and comes back on the other edge."""
    seen: list[int] = []
    position: dict[str, Any] = {}
    turn = 0
    while len(seen) < total:
        turn += 1
        async with connected(edges[turn % 2], f"mover-{hop}") as client:
            result = await client.subscribe(channel, **position)
            started.add(hop)
            assert turn == 1 or result["recovered"]
            pubs = result.get("publications", [])
            offset = result["offset"]
            while len(pubs) < hop and len(seen) + len(pubs) < total:
                pubs.append((await client.push(channel))["pub"])
            seen += [pub["data"] for pub in pubs]
            offset = pubs[-1]["offset"] if pubs else offset
            position = {"recover": True, "epoch": result["epoch"], "offset": offset}
    return seen


async def test_an_edge_that_comes_later_knows_the_history(pair, services, nats_server):
    a, _ = pair
    async with connected(a, "writer") as writer:
        start = await writer.subscribe("chat:x")
        await publish(writer, "chat:x", ["before"])
    c = await start_edge(services, nats_server, "edge-c").ready()
    async with connected(c) as reader:
        back = await reader.subscribe("chat:x", recover=True, epoch=start["epoch"], offset=start["offset"])
        assert [pub["data"] for pub in back["publications"]] == ["before"]


async def test_history_and_positions_survive_a_restart_of_everything(services, nats_server):
    edge = await start_edge(services, nats_server, "edge-a").ready()
    async with connected(edge, "writer") as writer:
        start = await writer.subscribe("chat:x")
        await publish(writer, "chat:x", [1, 2])
    assert await edge.stop() == 0
    nats_server.stop()
    nats_server.start()
    edge = await start_edge(services, nats_server, "edge-b").ready()
    async with connected(edge) as reader:
        back = await reader.subscribe("chat:x", recover=True, epoch=start["epoch"], offset=start["offset"])
        assert back["recovered"] and [pub["data"] for pub in back["publications"]] == [1, 2]


async def test_a_publication_right_after_the_subscribe_reply_is_not_missed(shared_pair):
    """The subscribe reply means that live publications come, also without history and from another edge."""
    a, b = shared_pair
    async with connected(a) as reader, connected(b, "writer") as writer:
        for i in range(30):
            await reader.subscribe(f"live:race-{i}")
            await writer.send({"id": i + 1, "publish": {"channel": f"live:race-{i}", "data": i}})
            assert await reader.publications(f"live:race-{i}", 1) == [i]


async def test_an_anonymous_client_enters_only_where_configured(services, nats_server):
    anonymous = {"FAIRLEAD_CLIENT_ALLOW_ANONYMOUS_CONNECT_WITHOUT_TOKEN": "true"}
    edge = await start_edge(services, nats_server, "edge-a", **anonymous).ready()
    async with wire_client(edge) as client:
        assert (await client.ask(connect={}))["connect"]["client"]
        assert (await client.ask(subscribe={"channel": "chat:x"}))["error"]["code"] == 103
