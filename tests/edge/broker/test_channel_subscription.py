from __future__ import annotations

from services.edge.broker.channel_subscription import ChannelSubscription
from tests.contract.broker import Listener

STORED = b"NATS/1.0\r\nNats-Sequence: 9\r\nNats-Last-Sequence: 4\r\n\r\n"


def test_messages_are_told_of_their_channel():
    heard = Listener()
    subscription = ChannelSubscription("chat:x", heard)
    subscription.live(b"s", b"", STORED, b"1")
    subscription.ephemeral(b"s", b"", None, b"2")
    ((channel, message),) = heard.lives
    assert (channel, message.sequence, message.previous) == ("chat:x", 9, 4)
    assert [(channel, bytes(each.data)) for channel, each in heard.ephemerals] == [("chat:x", b"2")]


def test_an_unreadable_publication_is_left_out_and_logged(caplog):
    heard = Listener()
    subscription = ChannelSubscription("chat:x", heard)
    subscription.live(b"live.s", b"", b"NATS/1.0\r\nNats-Sequence: x\r\nNats-Last-Sequence: 4\r\n\r\n", b"1")
    subscription.ephemeral(b"eph.s", b"", None, b"")
    assert not heard.lives and not heard.ephemerals
    assert "ignoring a message on live.s: " in caplog.text and "ignoring a message on eph.s: " in caplog.text
