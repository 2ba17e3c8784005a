"""A channel that an edge has open: what it keeps depends on its namespace."""

from __future__ import annotations

import pytest
from msgspec import Raw

from proto.messages import ClientInfo, Publication
from services.edge.broker.broker import ChannelAddress
from services.edge.channels.channel import Channel
from services.edge.channels.pace import AtOnce
from services.edge.channels.subscription import Subscription
from services.edge.channels.turns_pace import TurnsPace
from services.edge.grants import Grant
from tests.support.cluster import FakeSubscriber
from tests.support.eventually import eventually
from tests.support.namespaces import rules_of


@pytest.mark.parametrize(("name", "history_class"), [("chat:x", "chat"), ("live:x", ""), ("$chat:x", "chat")])
def test_one_with_history_has_a_log_of_its_namespace_s_class(name: str, history_class: str) -> None:
    channel = Channel(name, rules_of(name), AtOnce())
    assert channel.address == ChannelAddress(name, history_class) and channel.name == name
    assert (channel.log is not None) is bool(history_class)
    assert not channel.closed and not channel.users and channel.remote_members is None


async def test_pushes_bear_its_name() -> None:
    channel = Channel("live:x", rules_of("live:x"), TurnsPace())
    channel.fan_out(Publication(Raw(b"1")))  # no subscriber is there
    subscriber = FakeSubscriber()
    channel.subscribers.add(subscriber, Subscription(channel.rules, Grant(), ClientInfo()))
    channel.fan_out(Publication(Raw(b"2")))
    assert not subscriber.pushes, "they come when the turn of the loop ends"
    await eventually(lambda: subscriber.pushes == [{"channel": "live:x", "pub": {"data": 2}}])


async def test_its_subscribers_have_been_sent_all_but_what_waits() -> None:
    channel = Channel("chat:x", rules_of("chat:x"), TurnsPace())
    assert channel.log is not None
    subscriber, subscription = FakeSubscriber(), Subscription(channel.rules, Grant(), ClientInfo())
    channel.subscribers.add(subscriber, subscription)
    channel.log.start("e", 5)
    assert channel.delivered_offset(subscription) == 5
    for sequence in (7, 9):
        channel.log.admit(sequence, Publication(Raw(b"1"), offset=sequence))
        channel.fan_out(Publication(Raw(b"1"), offset=sequence))
        assert channel.delivered_offset(subscription) == 5
    channel.subscribers.flush(subscriber)
    assert channel.delivered_offset(subscription) == 9
    channel.fan_out(Publication(Raw(b"1")))  # it skips the history
    assert channel.delivered_offset(subscription) == 9
