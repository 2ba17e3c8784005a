"""Presence, joins and leaves over two edges: a member is known at once, and no ghost stays."""

from __future__ import annotations

import time

import pytest

from tests.support.edges import connected, wire_client
from tests.support.eventually import eventually

pytestmark = [pytest.mark.integration, pytest.mark.once, pytest.mark.usefixtures("encoding")]


async def presence(client, channel):
    """The users in a channel by client id, as this client sees them."""
    members = (await client.ask(presence={"channel": channel}))["presence"]["presence"]
    return {number: info["user"] for number, info in members.items()}


async def test_a_subscriber_is_in_presence_with_its_subscribe_reply_and_sees_all_edges(shared_pair, x):
    a, b = shared_pair
    channel = f"lobby:{x}"
    async with wire_client(a) as one, wire_client(b) as two:
        alice = (await one.connect("alice", info={"name": "Alice"}))["client"]
        bob = (await two.connect("bob"))["client"]
        await one.subscribe(channel)
        assert await presence(one, channel) == {alice: "alice"} == await presence(two, channel)
        await two.subscribe(channel)
        assert await presence(one, channel) == {alice: "alice", bob: "bob"} == await presence(two, channel)
        found = (await two.ask(presence={"channel": channel}))["presence"]["presence"]
        assert found[alice] == {"user": "alice", "client": alice, "conn_info": {"name": "Alice"}}
        stats = (await one.ask(presence_stats={"channel": channel}))["presence_stats"]
        assert stats == {"num_clients": 2, "num_users": 2}
        assert await one.ask(unsubscribe={"channel": channel}) == {"unsubscribe": {}}
        assert await presence(two, channel) == {bob: "bob"}
        await two.ask(unsubscribe={"channel": channel})
        assert (await one.ask(presence={"channel": channel})) == {"presence": {"presence": {}}}
        stats = (await one.ask(presence_stats={"channel": channel}))["presence_stats"]
        assert stats == {"num_clients": 0, "num_users": 0}


async def test_presence_needs_the_namespace_and_the_permission(shared_edge, x):
    async with connected(shared_edge) as client:
        for command in ("presence", "presence_stats"):
            for channel, code in ((f"chat:{x}", 108), (f"nope:{x}", 102), (f"room:{x}", 103)):
                assert (await client.ask(**{command: {"channel": channel}}))["error"]["code"] == code
        await client.subscribe(f"room:{x}")
        await client.push(f"room:{x}")
        assert "presence" in await client.ask(presence={"channel": f"room:{x}"})


async def test_joins_and_leaves_reach_every_edge_after_the_reply_and_in_order(shared_pair, x):
    a, b = shared_pair
    channel = f"room:{x}"
    async with wire_client(a) as one, wire_client(b) as two:
        alice = (await one.connect("alice"))["client"]
        await one.subscribe(channel)
        assert await one.push(channel) == {
            "channel": channel,
            "join": {"info": {"user": "alice", "client": alice}},
        }, "a subscriber gets its own join"
        bob = (await two.connect("bob"))["client"]
        await two.subscribe(channel)
        for client in (one, two):
            assert (await client.push(channel))["join"]["info"] == {"user": "bob", "client": bob}
        await two.ask(unsubscribe={"channel": channel})
        assert (await one.push(channel))["leave"]["info"] == {"user": "bob", "client": bob}
        await two.subscribe(channel)
        assert (await one.push(channel))["join"]["info"]["user"] == "bob"
        await two.socket.close()
        assert (await one.push(channel))["leave"]["info"] == {"user": "bob", "client": bob}


async def test_joins_are_for_those_who_ask_where_the_namespace_does_not_force_them(shared_pair, x):
    a, b = shared_pair
    channel = f"lobby:{x}"
    async with connected(a) as curious, connected(a, "bob") as other, connected(b, "carol") as third:
        await curious.subscribe(channel, join_leave=True)
        assert (await curious.push(channel))["join"]["info"]["user"] == "alice"
        await other.subscribe(channel)
        assert (await curious.push(channel))["join"]["info"]["user"] == "bob"
        await third.subscribe(channel)
        assert (await curious.push(channel))["join"]["info"]["user"] == "carol"
        await third.ask(publish={"channel": channel, "data": 1})
        assert await other.publications(channel, 1) == [1], "no join came before"


async def test_a_killed_edge_leaves_no_ghost(pair, x):
    """The bound of the design: gone from presence, and its leaves told, within 5 s of the kill."""
    a, b = pair
    channel = f"room:{x}"
    async with connected(a) as witness:
        await witness.subscribe(channel)
        assert (await witness.push(channel))["join"]["info"]["user"] == "alice"
        async with connected(b, "bob") as victim, connected(b, "carol") as other:
            await victim.subscribe(channel)
            await other.subscribe(channel)
            joined = {(await witness.push(channel))["join"]["info"]["user"] for _ in range(2)}
            assert joined == {"bob", "carol"} and len(await presence(witness, channel)) == 3
            b.kill9()
            killed_at = time.monotonic()
            left = {(await witness.push(channel))["leave"]["info"]["user"] for _ in range(2)}
            assert left == {"bob", "carol"}
            assert list((await presence(witness, channel)).values()) == ["alice"]
            assert time.monotonic() - killed_at < 5, "a promise, not a measurement: perf has those"


async def test_a_hung_edge_makes_presence_fail_rather_than_lie_and_returns_with_its_members(pair, x):
    a, b = pair
    channel = f"room:{x}"
    async with connected(a) as witness, connected(b, "bob") as other:
        await witness.subscribe(channel)
        await other.subscribe(channel)
        for _ in range(2):
            await witness.push(channel)
        b.pause()
        try:
            answer = await witness.ask(presence={"channel": channel})
            assert answer["error"]["code"] == 100 and answer["error"]["temporary"]
            assert (await witness.push(channel))["leave"]["info"]["user"] == "bob"
            assert list((await presence(witness, channel)).values()) == ["alice"]
        finally:
            b.resume()
        assert (await witness.push(channel))["join"]["info"]["user"] == "bob"

        async def is_back() -> None:
            assert sorted((await presence(witness, channel)).values()) == ["alice", "bob"]

        await eventually(is_back)
