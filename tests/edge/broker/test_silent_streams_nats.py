from __future__ import annotations

import json
from typing import Any

import pytest

from services.chassis.nats.inbox import Reply
from services.chassis.nats.link import NatsLink
from services.chassis.nats.streams import ensure_stream, stream_config
from services.chassis.process.settings import NatsSettings
from services.edge.broker import silent_streams_nats
from services.edge.broker.silent_streams_nats import SilentStreams
from tests.support.eventually import eventually
from tests.support.links import linked

pytestmark = pytest.mark.integration


async def test_a_stream_that_answers_for_a_while_does_not_store_until_it_acknowledges_again(nats_server, monkeypatch):
    monkeypatch.setattr(silent_streams_nats, "SURE_S", 0.1)
    async with linked(nats_server.url) as link:
        await ensure_stream(link, stream_config("S", "s.>", 60, 60))
        silent = SilentStreams(link)
        assert [silent.why("S"), silent.why("no such stream")] == ["timeout", "timeout"]
        await eventually(lambda: silent.why("S") == "storage")
        silent.stored("S")
        assert silent.why("S") == "timeout"
        assert silent.why("no such stream") == "timeout"
        silent.stop()


async def test_a_stream_that_answers_is_given_time_to_acknowledge(nats_server):
    async with linked(nats_server.url) as link:
        await ensure_stream(link, stream_config("S", "s.>", 60, 60))
        silent = SilentStreams(link)
        for _ in range(20):
            assert silent.why("S") == "timeout", "the server may only be slow"
            await link.flush()
        silent.stop()


class _Cluster(NatsLink):
    """A link to a cluster in which a stream has this leader."""

    leader = "one"

    async def request(self, *_: Any, **__: Any) -> Reply:
        return b"", json.dumps({"cluster": {"name": "c", "leader": self.leader}}).encode()


async def test_a_stream_that_has_lost_its_leader_is_not_taken_for_a_full_disk(monkeypatch):
    monkeypatch.setattr(silent_streams_nats, "SURE_S", 0.1)
    link = _Cluster(NatsSettings(), "test")
    silent = SilentStreams(link)
    silent.why("S")
    await eventually(lambda: silent.why("S") == "storage")
    link.leader = ""
    await eventually(lambda: silent.why("S") == "timeout")
    silent.stop()
