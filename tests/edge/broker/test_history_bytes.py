"""The bytes of a namespace: at their limit the oldest go or new ones are refused, and no other namespace notices."""

from __future__ import annotations

import pytest
from msgspec import Raw
from msgspec.structs import replace

from proto import subjects
from proto.events import LOG_DUPLICATE_WINDOW_S, LOG_MAX_AGE_S
from proto.messages import Publication
from services.chassis.nats.stream_making import ensure_stream, stream_config
from services.chassis.nats.streams import store
from services.chassis.process.settings import Duration
from services.edge.broker.broker import BrokerRefused, ChannelAddress
from services.edge.broker.broker_nats import NatsBroker
from services.edge.channel_settings import ChannelOptions
from tests.contract.broker import CHAT, CLASSES, Listener
from tests.contract.broker import store as publish
from tests.edge.broker.test_broker_nats import broker
from tests.support.eventually import eventually
from tests.support.links import linked

pytestmark = pytest.mark.integration

MEGABYTE = 1024 * 1024
LARGE = Publication(data=Raw(b'"' + b"x" * (100 * 1024) + b'"'))
FLOODED = ChannelOptions(history_size=1000, history_ttl=Duration(3600), history_max_bytes=MEGABYTE)


def classes(**changes: str) -> dict[str, ChannelOptions]:
    return {**CLASSES, "news": replace(FLOODED, **changes)}


async def flood(broker: NatsBroker, count: int) -> None:
    for number in range(count):
        await broker.publish(ChannelAddress(f"news:{number}", "news"), LARGE)


async def the_others_are_well(url: str, broker: NatsBroker) -> None:
    """Another namespace, and the log of the sessions."""
    first = await publish(broker, CHAT, 1)
    (entry,) = (await broker.read(CHAT, 0, 10)).entries
    assert entry.sequence == first.offset
    async with linked(url) as link:
        sessions = stream_config(
            subjects.SESSIONS_STREAM, subjects.SESSION_EVENTS_ALL, LOG_MAX_AGE_S, LOG_DUPLICATE_WINDOW_S
        )
        await ensure_stream(link, sessions)
        assert (await store(link, subjects.session_events("edge"), b"x" * 1000, None)).sequence == 1


async def test_the_oldest_publications_of_the_namespace_go(nats_server):
    async with broker(nats_server.url, Listener(), classes(), partitions=1) as a:
        kept = await publish(a, CHAT, 0)
        await flood(a, 40)
        held = [bool(await a.newest(ChannelAddress(f"news:{number}", "news"))) for number in range(40)]
        assert 5 <= sum(held) <= 10 and held == sorted(held), "the newest, a megabyte of them"
        assert (await a.read(CHAT, 0, 10)).entries[0].sequence == kept.offset
    async with broker(nats_server.url, Listener(), classes(), partitions=1) as a:
        await a.remove_history(CHAT)
        async with linked(nats_server.url) as link:
            await link.stream_manager().purge_stream("CH_chat_0")
        await the_others_are_well(nats_server.url, a)


async def test_or_new_ones_are_refused_and_a_channel_at_its_own_limit_goes_on(nats_server):
    options = classes(history_when_full="refuse")
    options["news"] = replace(options["news"], history_size=2)
    async with broker(nats_server.url, Listener(), options, partitions=1) as a:
        with pytest.raises(BrokerRefused, match=r"the namespace's history_max_bytes are used up \(stream CH_news_0: "):
            await flood(a, 40)
        first = ChannelAddress("news:0", "news")
        assert await a.newest(first) is not None, "nothing went"
        with pytest.raises(BrokerRefused):
            await a.publish(first, LARGE)
        await a.publish(first, Publication(data=Raw(b"1")))
        assert len((await a.read(first, 0, 10)).entries) == 2
        await a.publish(first, Publication(data=Raw(b"2")))
        await the_others_are_well(nats_server.url, a)


async def test_the_bytes_are_those_of_all_partitions_together(nats_server):
    async with broker(nats_server.url, Listener(), classes(), partitions=4):
        pass
    larger = {**CLASSES, "news": replace(FLOODED, history_max_bytes=8 * MEGABYTE)}
    async with broker(nats_server.url, Listener(), larger, partitions=2), linked(nats_server.url) as link:

        async def bytes_of_each() -> list[int]:
            infos = await link.stream_manager().streams_info()
            sizes = {str(info.config.name): info.config.max_bytes or 0 for info in infos}
            return [sum(size for name, size in sizes.items() if f"_news_{p}" in name) for p in range(4)]

        async def with_their_indexes() -> None:
            assert await bytes_of_each() == [2 * MEGABYTE] * 4, "as many as there are"

        await eventually(with_their_indexes)


async def test_the_policy_is_changed_in_place(nats_server):
    async with broker(nats_server.url, Listener(), classes(), partitions=1) as a:
        await flood(a, 40)
    refusing = classes(history_when_full="refuse")
    async with broker(nats_server.url, Listener(), refusing, partitions=1) as a:
        with pytest.raises(BrokerRefused, match="maximum bytes"):
            await flood(a, 40)
