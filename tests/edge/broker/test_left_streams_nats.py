"""Streams of namespaces that are configured no more: a start names them."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from services.chassis.process.settings import Duration
from services.edge.broker.broker import BrokerRefused
from services.edge.broker.broker_nats import NatsBroker
from services.edge.channel_settings import ChannelOptions
from tests.contract.broker import CLASSES, Listener
from tests.edge.broker.test_broker_nats import broker
from tests.support.eventually import eventually
from tests.support.links import linked

pytestmark = pytest.mark.integration

KEPT = ChannelOptions(history_size=10, history_ttl=Duration(3600), history_max_bytes=1024 * 1024)


async def test_streams_of_a_namespace_that_is_gone_are_named_before_they_leave_no_room(nats_server, caplog):
    older = {"old_2.x": KEPT, **CLASSES}
    async with broker(nats_server.url, Listener(), older, partitions=2), linked(nats_server.url) as link:

        async def indexed() -> None:
            names = [info.config.name for info in await link.stream_manager().streams_info()]
            assert sum(str(name).startswith("IDX_old_2=2Ex_") for name in names) == 2

        await eventually(indexed)
    assert "namespaces that have no history" not in caplog.text
    too_large = {**CLASSES, "new": replace(KEPT, history_max_bytes=10**15)}
    async with linked(nats_server.url) as link:
        made = NatsBroker(link, too_large, 2, "edge", 64)
        with pytest.raises(BrokerRefused, match="insufficient storage"):
            await made.start(Listener())
        made.stop()
    (said,) = [record.getMessage() for record in caplog.records if "have no history" in record.getMessage()]
    assert "'old_2.x' (CH_old_2=2Ex_0, 4 in all). If" in said and "nats stream rm" in said
