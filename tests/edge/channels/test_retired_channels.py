"""Namespaces change under open channels: which subscriptions end, and which stay."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from proto import codes
from services.edge.broker.broker import BrokerAway
from services.edge.channels.namespaces import ChannelRules
from tests.support.cluster import EdgeCluster, TestEdge
from tests.support.namespaces import NAMESPACES


@pytest.fixture
async def edge() -> TestEdge:
    return await TestEdge(EdgeCluster()).start()


def without(*gone: str):
    return lambda namespace: None if namespace in gone else NAMESPACES.named(namespace)


async def test_those_of_a_namespace_that_is_gone_end_for_good(edge):
    chatting, _ = await edge.subscribe("chat:x")
    living, _ = await edge.subscribe("live:x")
    chatting.node = living.node = edge.node
    assert await edge.node.sync.retire(without("chat")) == 1
    assert chatting.ended == [("chat:x", codes.UNSUBSCRIBED_BY_SERVER)] and living.ended == []
    assert edge.node.channels.get("chat:x") is None and edge.node.subscriptions == 1


async def test_where_history_was_switched_off_clients_are_sent_to_subscribe_again(edge):
    chatting, _ = await edge.subscribe("chat:x")
    chatting.node = edge.node
    rules = NAMESPACES.rules("chat:x")
    bare = ChannelRules(NAMESPACES.rules("live:x").options, rules.history_class, rules.name_pattern)
    with pytest.raises(BrokerAway), edge.node.channels.using("chat:x", bare):
        pass  # between the reload and the end of the channel nobody gets into it by the new rules
    assert await edge.node.sync.retire(lambda namespace: bare) == 1
    assert chatting.ended == [("chat:x", codes.UNSUBSCRIBED_INSUFFICIENT_STATE)]
    with edge.node.channels.using("chat:x", bare) as channel:
        assert channel.log is None


async def test_any_other_change_ends_none(edge):
    chatting, _ = await edge.subscribe("chat:x")
    rules = NAMESPACES.rules("chat:x")
    options = replace(rules.options, history_size=1, allow_subscribe_for_client=False)
    changed = ChannelRules(options, rules.history_class, rules.name_pattern)
    assert await edge.node.sync.retire(lambda namespace: changed) == 0
    assert chatting.ended == [] and edge.node.subscriptions == 1
