"""Every cause for which a publish fails, made on a real NATS: the error names it.

The disk and the limits of the server are those of a native one, whatever TEST_BACKEND is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

import pytest
from msgspec import Raw
from msgspec.structs import replace

from proto.messages import Publication
from services.chassis.process.settings import Duration
from services.edge.broker import publisher_nats, silent_streams_nats
from services.edge.broker.broker import BrokerAway, BrokerRefused, ChannelAddress
from services.edge.broker.broker_nats import NatsBroker
from services.edge.channel_settings import ChannelOptions
from tests.contract.broker import CHAT, CLASSES, PLAIN, Listener, publication
from tests.edge.broker.test_broker_nats import broker
from tests.support.eventually import eventually

pytestmark = pytest.mark.integration

HUNDRED_KB = Publication(data=Raw(b'"' + b"x" * 100_000 + b'"'))


async def cause(broker: NatsBroker, address: ChannelAddress = CHAT, what: Publication = publication(1)) -> str:  # noqa: B008
    """Why this publish fails, "" if it does not."""
    try:
        await broker.publish(address, what)
    except (BrokerAway, BrokerRefused) as error:
        return error.cause
    return ""


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publisher_nats, "PUBLISH_DEADLINE_S", 0.2)


async def test_nats_that_hangs_and_nats_that_is_gone(nats_server, impatient):
    async with broker(nats_server.url, Listener()) as a:
        nats_server.pause()
        assert await cause(a) == "timeout"
        assert await cause(a) == "timeout", "its streams do not answer either"
        nats_server.resume()
        await eventually(lambda: _is(cause(a), ""))
        nats_server.kill9()
        await eventually(lambda: not a.available)
        assert [await cause(a, address) for address in (CHAT, PLAIN)] == ["away", "away"]


async def test_more_publishes_than_may_wait(nats_server, monkeypatch):
    monkeypatch.setattr(publisher_nats, "WAITING_PER_PLACE", 0)
    async with broker(nats_server.url, Listener()) as a:
        nats_server.pause()
        under_way = [asyncio.create_task(cause(a)) for _ in range(64)]
        await eventually(lambda: a.in_flight.count == 64)
        assert await cause(a) == "busy"
        nats_server.resume()
        assert await asyncio.gather(*under_way) == [""] * 64


async def test_a_publication_that_is_too_large_and_a_history_that_is_full(nats_server):
    full = ChannelOptions(
        history_size=1000, history_ttl=Duration(3600), history_max_bytes=1024 * 1024, history_when_full="refuse"
    )
    async with broker(nats_server.url, Listener(), {**CLASSES, "news": full}, partitions=1) as a:
        too_large = replace(HUNDRED_KB, data=Raw(b'"' + b"x" * 1024 * 1024 + b'"'))
        assert [await cause(a, address, too_large) for address in (CHAT, PLAIN)] == ["too_large", "too_large"]
        flood = [await cause(a, ChannelAddress(f"news:{number}", "news"), HUNDRED_KB) for number in range(12)]
        assert flood[0] == "" and flood[-1] == "full"


async def test_a_disk_that_takes_nothing_is_told_from_a_nats_that_hangs(native_nats, impatient, monkeypatch):
    monkeypatch.setattr(silent_streams_nats, "SURE_S", 0.1)
    async with broker(native_nats.url, Listener()) as a:
        assert await cause(a) == ""
        acknowledged = a.in_flight.ack_seconds.count
        native_nats.break_disk()
        assert await cause(a) == "timeout", "NATS says nothing: only after this does anybody ask"
        await eventually(lambda: _is(cause(a), "storage"))
        assert a.in_flight.ack_seconds.count == acknowledged
        native_nats.kill9()
        native_nats.start()
        await eventually(lambda: _is(cause(a), ""))
        await eventually(lambda: a.available)
        native_nats.pause()
        assert await cause(a) == "timeout", "it has stored again since"


async def test_the_limit_of_all_streams_is_reached(native_nats):
    classes = {**CLASSES, "chat": ChannelOptions(history_size=1000, history_ttl=Duration(3600), history_max_bytes=0)}
    async with broker(native_nats.url, Listener(), classes) as a:
        for _ in range(20):
            assert await cause(a, what=HUNDRED_KB) == ""
        native_nats.stop()
        native_nats.configure("jetstream { max_file_store: 1MB }")
        native_nats.start()
        await eventually(lambda: _is(cause(a), "storage"))


async def _is(found: Awaitable[str], wanted: str) -> bool:
    return await found == wanted
