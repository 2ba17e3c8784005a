from __future__ import annotations

import json
from typing import Any

import pytest
from nats.js.api import StreamConfig

from services.chassis.nats.inbox import Reply
from services.chassis.nats.link import NatsAway, NatsLink
from services.chassis.nats.settings import NatsSettings
from services.chassis.nats.stream_making import ensure_stream, stream_config
from services.chassis.nats.streams import store, stream_state
from services.edge.broker import silent_streams_nats
from services.edge.broker.silent_streams_nats import SilentStreams
from tests.support.eventually import eventually
from tests.support.links import linked
from tests.support.nats_cluster import NatsCluster

pytestmark = pytest.mark.integration

REPLICATED = StreamConfig(name="S", subjects=["s.>"], num_replicas=3)


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


async def test_a_stream_without_a_majority_does_not_lack_storage(tmp_path, monkeypatch):
    """Three servers, of which two hang: the leader goes on answering questions about the stream for a while."""
    monkeypatch.setattr(silent_streams_nats, "SURE_S", 0.0)
    cluster = NatsCluster(tmp_path)
    try:
        cluster.start()
        async with linked(cluster.url_of(0)) as link:
            await eventually(lambda: link.stream_manager().add_stream(REPLICATED), within_s=40)
            await eventually(lambda: store(link, "s.x", b"1", None, 1), within_s=20)
            info = await link.stream_manager().stream_info("S")
        assert info.cluster is not None and info.cluster.leader
        leader = int(info.cluster.leader[-1])
        async with linked(cluster.url_of(leader)) as link:
            silent = SilentStreams(link)
            for number in {0, 1, 2} - {leader}:
                cluster.pause(number)
            with pytest.raises(NatsAway):
                await store(link, "s.x", b"2", None, 3)
            for _ in range(20):
                assert silent.why("S") == "timeout"
                state = await stream_state(link, "S")
                assert state is not None and not state.has_majority, "it answers"
            for number in {0, 1, 2} - {leader}:
                cluster.resume(number)
            await eventually(lambda: _has_majority(link), within_s=20)
            silent.stop()
    finally:
        cluster.close()


async def _has_majority(link: NatsLink) -> bool:
    state = await stream_state(link, "S")
    return state is not None and state.has_majority
