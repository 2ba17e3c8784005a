"""The metrics service sees how full a real JetStream is, and that it does not answer."""

from __future__ import annotations

import asyncio

import pytest
from prometheus_client import CollectorRegistry

from services.chassis.metrics.page import PageCollector
from services.chassis.nats.streams import ensure_stream, store, stream_config
from services.metrics import store_nats
from services.metrics.store import STORE_SERIES, StoreMetrics
from services.metrics.store_nats import StoreWatch
from tests.support.eventually import eventually
from tests.support.links import linked

pytestmark = pytest.mark.integration


async def test_streams_fill_and_an_outage_shows(nats_server, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(store_nats, "INTERVAL_S", 0.05)
    metrics = StoreMetrics()
    registry = CollectorRegistry()
    registry.register(PageCollector(STORE_SERIES, metrics.fill))

    def value(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(f"fairlead_cluster_{name}", labels)

    async with linked(nats_server.url) as link:
        await ensure_stream(link, stream_config("ONE", "one.>", 0, 60, max_bytes=1_000_000))
        await ensure_stream(link, stream_config("TWO", "two.>", 0, 60))
        watch = asyncio.create_task(StoreWatch(link, metrics).run())
        try:
            await eventually(lambda: value("stream_messages", stream="ONE") == 0)
            await store(link, "one.x", b"x" * 10_000, None)
            await eventually(lambda: (value("stream_bytes", stream="ONE") or 0) > 10_000)
            assert value("stream_limit_bytes", stream="ONE") == 1_000_000
            assert value("stream_limit_bytes", stream="TWO") is None
            assert (value("store_used_bytes") or 0) > 10_000
            assert value("streams_unanswered") == 0
            assert value("stream_replicas", stream="ONE") == value("stream_replicas_current", stream="ONE") == 1
            nats_server.kill9()
            await eventually(lambda: value("store_answers") == 0)
            nats_server.start()
            await eventually(lambda: value("store_answers") == 1)
        finally:
            watch.cancel()
