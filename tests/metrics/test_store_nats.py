"""The metrics service sees how full a real JetStream is, and that it does not answer."""

from __future__ import annotations

import asyncio
import json
from typing import cast

import pytest
from prometheus_client import CollectorRegistry

from proto import subjects
from services.chassis.metrics.page import PageCollector
from services.chassis.nats.link import NatsLink
from services.chassis.nats.stream_making import ensure_stream, stream_config
from services.chassis.nats.streams import store
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
        await ensure_stream(link, stream_config("TWO", "two.>", 0, 60, refuse_when_full=True))
        watch = asyncio.create_task(StoreWatch(link, metrics).run())
        try:
            await eventually(lambda: value("stream_messages", stream="ONE") == 0)
            await store(link, "one.x", b"x" * 10_000, None)
            await eventually(lambda: (value("stream_bytes", stream="ONE") or 0) > 10_000)
            assert value("stream_limit_bytes", stream="ONE") == 1_000_000
            assert value("stream_limit_bytes", stream="TWO") is None
            assert (value("stream_refuses", stream="ONE"), value("stream_refuses", stream="TWO")) == (0, 1)
            assert (value("store_used_bytes") or 0) > 10_000
            assert value("streams_unanswered") == 0
            assert value("stream_replicas", stream="ONE") == value("stream_replicas_current", stream="ONE") == 1
            nats_server.kill9()
            await eventually(lambda: value("store_answers") == 0)
            nats_server.start()
            await eventually(lambda: value("store_answers") == 1)
        finally:
            watch.cancel()


class _Answers:
    """JetStream as a cluster answers: in pages of 256, with the names of streams whose servers are silent."""

    def __init__(self, streams: int, silent: set[int]) -> None:
        self._names = [f"S{number:04}" for number in range(streams)]
        self._silent = {self._names[number] for number in silent}

    async def request(self, subject: str, data: bytes, timeout_s: float) -> tuple[None, bytes]:
        if subject == subjects.ACCOUNT_INFO:
            return None, b'{"storage": 5, "limits": {"max_storage": -1}}'
        offset = json.loads(data)["offset"]
        page = self._names[offset : offset + 256]
        streams = [
            {"config": {"name": name, "max_bytes": 10, "num_replicas": 3}, "state": {"messages": 1, "bytes": 1}}
            for name in page
            if name not in self._silent
        ]
        return None, json.dumps({"streams": streams, "missing": [n for n in page if n in self._silent]}).encode()


@pytest.mark.parametrize(("streams", "silent"), [(3, set()), (256, {0}), (700, {1, 255, 256, 699})])
async def test_all_pages_are_read_and_silent_streams_are_counted(streams: int, silent: set[int]):
    metrics = StoreMetrics()
    registry = CollectorRegistry()
    registry.register(PageCollector(STORE_SERIES, metrics.fill))
    watch = asyncio.create_task(StoreWatch(cast("NatsLink", _Answers(streams, silent)), metrics).run())
    try:
        await eventually(lambda: registry.get_sample_value("fairlead_cluster_store_answers") == 1)
        assert registry.get_sample_value("fairlead_cluster_streams_unanswered") == len(silent)
        shown = next(one for one in registry.collect() if one.name == "fairlead_cluster_stream_bytes").samples
        assert len(shown) == streams - len(silent)
        assert registry.get_sample_value("fairlead_cluster_store_limit_bytes") == 30 * len(shown)
    finally:
        watch.cancel()
