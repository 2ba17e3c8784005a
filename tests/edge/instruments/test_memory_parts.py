"""The memory of an edge on its page: the limits, what counts against them, and what it is for."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry

from services.chassis.metrics.page import PageCollector
from services.edge.channels.channel_registry import ChannelRegistry
from services.edge.connection.memory_guard import MemoryLimits
from services.edge.connection.memory_watch import CHANNEL_BYTES, KERNEL_BYTES, MemoryWatch
from services.edge.instruments.catalog import EDGE_SERIES
from services.edge.instruments.memory_parts import put_memory
from tests.edge.talks import connected
from tests.support.cluster import TestEdge
from tests.support.eventually import eventually


async def test_it_is_shown_with_its_limits_and_by_what_it_is_for(a: TestEdge, monkeypatch: pytest.MonkeyPatch) -> None:
    watch = MemoryWatch(a.context, MemoryLimits(1000, 2000), lambda: 500, lambda: None, lambda: None)
    registry = CollectorRegistry()
    registry.register(PageCollector(EDGE_SERIES, lambda page: put_memory(page, a.context, watch)))

    def value(name: str, **labels: str) -> float:
        return registry.get_sample_value(f"fairlead_edge_{name}", labels) or 0.0

    def part(name: str) -> float:
        return value("memory_part_bytes", part=name)

    talk = await connected(a)
    await talk.subscribe("chat:x")
    assert (value("memory_soft_limit_bytes"), value("memory_hard_limit_bytes")) == (1000, 2000)
    assert value("memory_used_bytes") == 500 + KERNEL_BYTES
    assert (part("kernel"), part("client_backlog"), part("rings")) == (KERNEL_BYTES, 0, 0)
    assert all(part(name) for name in ("connections", "subscriptions", "channels"))
    talk.transport.stall = True
    await a.publish("chat:x", "a publication that fills the socket")
    await eventually(lambda: a.context.registry.stalled)
    talk.transport.waiting = 12_345
    assert part("client_backlog") == 12_345
    assert len("a publication that fills the socket") < part("rings") < 1000
    talk.connection.resume_writing()
    assert part("client_backlog") == 0
    monkeypatch.setattr(ChannelRegistry, "__iter__", None)  # nothing walks all channels
    channel = a.node.channels.get("chat:x")
    assert channel is not None and part("rings") and part("channels") == CHANNEL_BYTES
    a.node.channels.close(channel)
    assert part("rings") == part("channels") == 0
