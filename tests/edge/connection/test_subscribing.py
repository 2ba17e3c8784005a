"""Subscribing to a channel and leaving it, on an edge: answers given at once, and nothing left behind."""

from __future__ import annotations

import pytest
from msgspec import Raw

from proto import codes
from proto.messages import Publication
from tests.edge.talks import connected
from tests.support.cluster import EdgeCluster, TestEdge
from tests.support.eventually import eventually
from tests.support.namespaces import rules_of


@pytest.fixture
async def edge() -> TestEdge:
    return await TestEdge(EdgeCluster()).start()


async def test_a_subscribe_of_an_open_channel_is_answered_in_the_same_turn(edge):
    first, second = await connected(edge), await connected(edge)
    await first.subscribe("chat:x")
    await edge.publish("chat:x", 1)
    second.say({"id": 7, "subscribe": {"channel": "chat:x"}}, {"id": 8, "unsubscribe": {"channel": "chat:x"}})
    assert [message["id"] for message in second.heard[-2:]] == [7, 8]


async def test_so_is_one_whose_missed_publications_are_in_the_ring(edge):
    first, second = await connected(edge), await connected(edge)
    start = await first.subscribe("chat:x")
    for value in range(3):
        await edge.publish("chat:x", value)
    await eventually(lambda: edge.node.position("chat:x").offset == 3)
    second.say({"id": 7, "subscribe": {"channel": "chat:x", "recover": True, "epoch": start["epoch"], "offset": 1}})
    result = second.heard[-1]["subscribe"]
    assert result["recovered"] and [pub["data"] for pub in result["publications"]] == [1, 2]
    assert edge.tally.recovered == 1 and edge.tally.recovered_publications == 2


async def test_one_of_another_epoch_is_told_so(edge):
    first, second = await connected(edge), await connected(edge)
    await first.subscribe("chat:x")
    result = await second.subscribe("chat:x", recover=True, epoch="another", offset=1)
    assert not result.get("recovered", False)


async def test_a_reply_leaves_out_what_the_client_cannot_take_and_the_next_command_is_carried_out(edge):
    talk = await connected(edge)
    await talk.subscribe("lobby:x")
    await edge.node.publish("plain:x", rules_of("plain:x"), Publication(data=Raw(b"\xff")))
    talk.say({"id": 7, "history": {"channel": "plain:x", "limit": 1}}, {"id": 8, "unsubscribe": {"channel": "lobby:x"}})
    assert (await talk.reply(7))["history"]["publications"] == [] and "unsubscribe" in await talk.reply(8)
    assert edge.node.subscriptions == 0 and await edge.node.presence.members("lobby:x") == {}


async def test_a_client_that_leaves_after_a_reply_that_it_cannot_take_is_told_so(edge):
    talk = await connected(edge)
    await edge.node.publish("plain:x", rules_of("plain:x"), Publication(data=Raw(b"\xff")))
    talk.say({"id": 7, "history": {"channel": "plain:x", "limit": 1}})
    talk.connection.leave(codes.SHUTDOWN)
    await eventually(lambda: talk.closed == codes.SHUTDOWN.code)
    assert edge.tally.closes[codes.SHUTDOWN.code] == 1
