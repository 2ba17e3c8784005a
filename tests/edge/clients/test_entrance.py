"""Entering channels: what is answered at once, and what a reply holds."""

from __future__ import annotations

import pytest
from msgspec import Raw

from proto.messages import Publication, StreamPosition
from proto.replies import SubscribeResult
from services.edge.clients.entrance import cut
from services.edge.clients.laggard import REPLY_BYTES
from tests.edge.talks import connected
from tests.support.cluster import EdgeCluster, TestEdge
from tests.support.eventually import eventually


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


def test_results_are_cut_where_a_reply_is_full() -> None:
    large = [Publication(Raw(b"x" * (REPLY_BYTES // 2)), offset=offset) for offset in (1, 2, 3)]
    results, positions = cut({"a": SubscribeResult(publications=large, epoch="e"), "b": SubscribeResult(epoch="e")})
    assert [pub.offset for pub in results["a"].publications] == [1]
    assert positions == {"a": StreamPosition(1, "e")} and results["b"] == SubscribeResult(epoch="e")
