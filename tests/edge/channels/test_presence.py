"""Presence, asked of all edges, and the answer when one of them is gone or silent."""

from __future__ import annotations

import asyncio

import pytest
from msgspec import Raw

from proto.control import ActiveChannels, CountMembers, Members
from proto.messages import ClientInfo
from proto.replies import PresenceStatsResult
from services.edge.broker.broker import BrokerAway
from services.edge.channels.presence import NAMES_AT_ONCE
from services.edge.grants import Grant, Override, Switch
from tests.support.breakable import BreakablePeers
from tests.support.cluster import EdgeCluster, TestEdge
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
