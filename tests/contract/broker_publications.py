"""The channels of `broker.BrokerContract`, and what is published to them."""

from __future__ import annotations

from msgspec import Raw

from proto.messages import Publication, StreamPosition
from proto.publications import Version
from services.chassis.process.settings import Duration
from services.edge.broker.broker import Broker, ChannelAddress
from services.edge.channel_settings import ChannelOptions
from tests.contract.listener import Listener

CLASSES = {
    "chat": ChannelOptions(history_size=5, history_ttl=Duration(3600)),
    "news": ChannelOptions(history_size=1000, history_ttl=Duration(3600)),
}
CHAT = ChannelAddress("chat:room", "chat")
NEWS = ChannelAddress("news:all", "news")
PLAIN = ChannelAddress("live:x")

Pair = tuple[Broker, Broker, Listener, Listener]


def publication(value: object) -> Publication:
    return Publication(data=Raw(str(value).encode()))


async def store(
    broker: Broker, address: ChannelAddress, value: object, message_id: str = "", version: Version | None = None
) -> StreamPosition:
    """Publishes to a channel with history."""
    position = await broker.publish(address, publication(value), message_id, version)
    assert position is not None
    return position
