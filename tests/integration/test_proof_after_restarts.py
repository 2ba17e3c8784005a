"""The same proof as in `test_proof_of_recovery`, by an index that NATS has stored before it ended."""

from __future__ import annotations

import pytest

from tests.support.edges import api
from tests.support.eventually import eventually
from tests.support.processes import ServiceProcess
from tests.support.recovery import edge_of, expired, position, publish, recovered

pytestmark = pytest.mark.integration


async def test_quiet_channels_are_recovered_after_a_restart_of_everything(services, nats_server):
    """Its epoch has ended then; its index goes on."""
    a = await edge_of(services, nats_server, "edge-a", ttl="1s")
    await publish(a, "chat:quiet", "seen")
    since = await position(a, "chat:quiet")
    await expired(a, "chat:quiet")
    await publish(a, "chat:busy", *range(5))
    assert await a.stop() == 0
    nats_server.stop()
    nats_server.start()
    for name in ("edge-b", "edge-c"):
        edge = await edge_of(services, nats_server, name, ttl="1s")
        assert await recovered(edge, "chat:quiet", since) == []
    assert await recovered(edge, "chat:quiet", {**since, "offset": since["offset"] - 1}) is None


async def test_the_index_goes_on_where_it_was_when_nats_was_killed(services, nats_server):
    a = await edge_of(services, nats_server, "edge-a", ttl="2s")
    await publish(a, "chat:x", *range(5))
    since = await position(a, "chat:x")
    nats_server.kill9()
    nats_server.start()
    await eventually(lambda: _publishes(a))
    await expired(a, "chat:x")
    b = await edge_of(services, nats_server, "edge-b", ttl="2s")
    assert await recovered(b, "chat:x", since) == []
    assert await recovered(b, "chat:x", {**since, "offset": since["offset"] - 1}) is None


async def _publishes(edge: ServiceProcess) -> bool:
    return "result" in (await api(edge, "publish", {"channel": "chat:other", "data": 1})).json()
