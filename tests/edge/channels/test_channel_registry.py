"""Which channels stay open: those in use, and for a while those that were."""

from __future__ import annotations

import pytest

from services.edge.channels import channel_registry
from services.edge.channels.channel import Channel
from tests.support.cluster import EdgeCluster, TestEdge


@pytest.fixture
async def edge() -> TestEdge:
    return await TestEdge(EdgeCluster()).start()


def found(edge: TestEdge, name: str) -> Channel:
    channel = edge.node.channels.get(name)
    assert channel is not None
    return channel


async def test_each_is_closed_when_its_own_time_is_over(edge):
    for name in ("chat:x", "chat:y", "live:z"):
        subscriber, _ = await edge.subscribe(name)
        edge.node.unsubscribe(subscriber, name)
    again, _ = await edge.subscribe("chat:x")
    found(edge, "chat:y").idle_since -= 100
    found(edge, "chat:x").idle_since -= 100
    edge.node.channels.sweep()
    assert edge.node.channels.get("chat:y") is None
    found(edge, "live:z")
    edge.node.unsubscribe(again, "chat:x")
    edge.node.channels.sweep()
    found(edge, "chat:x")  # its time begins anew


async def test_those_in_use_cost_nothing(edge, monkeypatch):
    """They are looked at four times a second otherwise, all of them."""
    await edge.subscribe("chat:x")
    monkeypatch.setattr(edge.node.channels, "_by_name", None)
    edge.node.channels.sweep()
    assert found(edge, "chat:x").is_open


async def test_one_that_was_closed_while_in_use_does_not_close_its_successor(edge, monkeypatch):
    subscriber, _ = await edge.subscribe("chat:x")
    closed = found(edge, "chat:x")
    with edge.node.channels.using("chat:x", closed.rules):
        edge.node.channels.close(closed)
        await edge.subscribe("chat:x")
    monkeypatch.setattr(channel_registry, "LINGER_S", -1.0)
    edge.node.channels.sweep()
    assert found(edge, "chat:x") is not closed
    assert subscriber.ended == []
