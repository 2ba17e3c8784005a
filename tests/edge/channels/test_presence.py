"""Presence, asked of all edges, and the answer when one of them is gone or silent."""

from __future__ import annotations

import asyncio
from asyncio import Task
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from msgspec import Raw

from proto.control import ActiveChannels, CountMembers, Members
from proto.messages import ClientInfo
from proto.replies import PresenceStatsResult
from services.edge.broker.broker import BrokerAway
from services.edge.channels.presence import NAMES_AT_ONCE
from services.edge.grants import Grant, Override, Switch
from tests.support.breakable import BreakablePeers
from tests.support.cluster import EdgeCluster, FakeSubscriber, TestEdge, attach_request, settled
from tests.support.eventually import eventually


@pytest.fixture
def cluster() -> EdgeCluster:
    return EdgeCluster()


@pytest.fixture
async def three(cluster: EdgeCluster) -> tuple[TestEdge, TestEdge, TestEdge]:
    return await TestEdge(cluster).start(), await TestEdge(cluster).start(), await TestEdge(cluster).start()


async def test_members_of_all_edges_are_found_from_each(three):
    a, b, c = three
    await a.subscribe("room:x", client="c1", user="42")
    await b.subscribe("room:x", client="c2", user="42")
    await c.subscribe("room:x", client="c3", user="7", grant=Grant(info=Raw(b'{"role":"host"}')))
    await c.subscribe("room:y", client="c3", user="7")
    for edge in three:
        assert await edge.node.presence.members("room:x") == {
            "c1": ClientInfo(user="42", client="c1"),
            "c2": ClientInfo(user="42", client="c2"),
            "c3": ClientInfo(user="7", client="c3", chan_info=Raw(b'{"role":"host"}')),
        }
        assert await edge.node.presence.stats("room:x") == PresenceStatsResult(num_clients=3, num_users=2)
    assert await a.node.presence.members("room:nobody") == {}
    assert await a.node.presence.stats("room:nobody") == PresenceStatsResult(0, 0)


async def test_all_anonymous_clients_are_one_user(three):
    a, b, _ = three
    await a.subscribe("room:x", client="c1", user="")
    await b.subscribe("room:x", client="c2", user="")
    assert await a.node.presence.stats("room:x") == PresenceStatsResult(num_clients=2, num_users=1)


async def test_a_subscriber_is_there_with_its_reply_and_gone_with_its_unsubscribe(three):
    a, b, _ = three
    subscriber, _ = await a.subscribe("lobby:x")
    assert list(await b.node.presence.members("lobby:x")) == ["c1"]
    a.node.unsubscribe(subscriber, "lobby:x")
    assert await b.node.presence.members("lobby:x") == {}


async def test_a_hidden_member_is_not_in_presence(three):
    a, b, _ = three
    hidden = Grant(override=Override(presence=Switch(False), join_leave=Switch(False)))
    await a.subscribe("room:x", client="c1", grant=hidden)
    await a.subscribe("chat:x", client="c1")
    assert await b.node.presence.members("room:x") == await b.node.presence.members("chat:x") == {}


async def test_a_killed_edge_is_left_out(three):
    a, b, c = three
    await a.subscribe("room:x", client="c1")
    await b.subscribe("room:x", client="c2")
    b.kill()
    assert list(await c.node.presence.members("room:x")) == ["c1"]
    assert (await c.node.presence.stats("room:x")).num_clients == 1
    assert await c.node.presence.active_channels("") == {"room:x": 1}


async def test_a_silent_edge_makes_the_question_fail_rather_than_lie(three, cluster, monkeypatch):
    a, b, _ = three
    await b.subscribe("room:x", client="c2")
    cluster.peers.hang(b.instance)
    real = BreakablePeers.ask_all
    monkeypatch.setattr(BreakablePeers, "ask_all", lambda self, request: real(self, request, 0.01))
    for question in (
        a.node.presence.members("room:x"),
        a.node.presence.stats("room:x"),
        a.node.presence.active_channels(""),
    ):
        with pytest.raises(BrokerAway):
            await question
    assert list(await b.node.presence.members("room:x")) == ["c2"], "the silent one is not the others"


@asynccontextmanager
async def asking(edge: TestEdge, slow: TestEdge, channel: str) -> AsyncIterator[Task[dict[str, ClientInfo]]]:
    """A question of `edge` whose answer waits for `slow` to the end of the block; the others have answered it."""
    slow.shared.peers.hang(slow.instance)
    asked = asyncio.create_task(edge.node.presence.members(channel))
    await settled()
    yield asked
    assert not asked.done()
    slow.shared.peers.lose(slow.instance)
    await asked


async def test_an_answer_has_what_its_subscribers_were_told_while_it_was_awaited(three):
    """A client that asks once and follows would otherwise show a ghost for good, or miss a member."""
    a, b, c = three
    witness, _ = await a.subscribe("room:x", client="w")
    there = {name: (await b.subscribe("room:x", client=name))[0] for name in ("goes", "stays", "returns")}
    here, _ = await a.subscribe("room:x", client="goes too")
    await c.subscribe("room:x", client="on c")
    await eventually(lambda: len(witness.members) == 6)
    async with asking(a, c, "room:x") as asked:
        b.node.unsubscribe(there["goes"], "room:x")
        a.node.unsubscribe(here, "room:x")
        b.node.unsubscribe(there["returns"], "room:x")
        await b.subscribe("room:x", client="returns", user="7")
        await b.subscribe("room:x", client="comes")
        await a.subscribe("room:x", client="comes too")
        await eventually(lambda: len(witness.members) == 12)
    found = await asked
    assert witness.members[-1] == ("leave", "on c"), "which was lost"
    assert set(found) == {"w", "stays", "returns", "comes", "comes too"}
    assert found["returns"].user == "7"
    assert set(await a.node.presence.members("room:x")) == set(found)


async def test_of_an_edge_that_is_lost_after_its_answer_nobody_is_in_it(three):
    a, b, c = three
    witness, _ = await a.subscribe("room:x", client="w")
    await b.subscribe("room:x", client="on b")
    await eventually(lambda: len(witness.members) == 2)
    async with asking(a, c, "room:x") as asked:
        b.kill()
        await eventually(lambda: witness.members[2:] == [("leave", "on b")])
    assert set(await asked) == {"w"}


async def test_a_member_is_in_when_its_join_is_announced_and_not_before(three):
    """One whose reply is never written has no join, and so no leave: who had been told of it would never lose it."""
    a, b, _ = three
    unborn = FakeSubscriber(node=b.node)
    request = attach_request("room:x", client="c1")
    await b.node.subscribe(unborn, request)
    assert await a.node.presence.members("room:x") == {}
    b.node.announce("room:x", request.subscription)
    assert list(await a.node.presence.members("room:x")) == ["c1"]


async def test_a_silent_edge_that_is_lost_while_it_is_asked_is_left_out(three, cluster):
    a, b, c = three
    await a.subscribe("room:x", client="c1")
    await b.subscribe("room:x", client="c2")
    cluster.peers.hang(b.instance)
    asking = asyncio.create_task(a.node.presence.members("room:x"))
    await eventually(lambda: Members("room:x") in c.asked)
    assert not asking.done()
    cluster.peers.lose(b.instance)
    assert list(await asking) == ["c1"]


async def test_an_edge_that_is_cut_off_knows_that_it_does_not_know(three):
    a, _, _ = three
    await a.subscribe("room:x", client="c1")
    a.peers.away = True
    with pytest.raises(BrokerAway):
        await a.node.presence.members("room:x")


async def test_channels_with_subscribers_anywhere_are_active(three):
    a, b, c = three
    await a.subscribe("room:x", client="c1")
    await b.subscribe("room:x", client="c2")
    await b.subscribe("chat:a.b[c]", client="c2")
    gone, _ = await c.subscribe("live:z", client="c3")
    c.node.unsubscribe(gone, "live:z")
    for edge in three:
        assert await edge.node.presence.active_channels("") == {"room:x": 2, "chat:a.b[c]": 1}
        assert await edge.node.presence.active_channels("*") == {"room:x": 2, "chat:a.b[c]": 1}
    for pattern, found in (
        ("room:*", {"room:x": 2}),
        ("room", {}),
        ("*:[xy]", {"room:x": 2}),
        ("chat:a.b*", {"chat:a.b[c]": 1}),
        ("chat:aXb*", {}),
        ("ROOM:*", {}),
    ):
        assert await a.node.presence.active_channels(pattern) == found, pattern


async def test_matching_the_names_of_many_channels_lets_others_have_their_turn(three):
    """The most expensive pattern takes 0.06 ms a name of 255 characters, and an edge may have 100,000 channels."""
    a, _, _ = three
    for number in range(400):
        await a.subscribe(f"room:{'a' * 200}{number}", client="c1")
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    ticking = asyncio.create_task(others())
    found = await a.node.presence.channels_here("*" + "a" * 120 + "?*")
    ticking.cancel()
    assert len(found) == 400 and turns >= 400 / NAMES_AT_ONCE


async def test_only_counts_travel_where_only_counts_are_asked_for(three):
    a, b, _ = three
    await b.subscribe("room:x", client="c2")
    await a.node.presence.stats("room:x")
    await a.node.presence.active_channels("room:*")
    assert b.asked[-2:] == [CountMembers("room:x"), ActiveChannels("room:*")]
