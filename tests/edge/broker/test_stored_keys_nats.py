"""Idempotency keys hold for their full time, across restarts of NATS, also when their publication was pushed out."""

from __future__ import annotations

import pytest

from proto import subjects
from proto.messages import StreamPosition
from services.chassis.nats.stream_reads import read_last
from services.chassis.nats.streams import stream_state
from services.chassis.process.settings import Duration
from services.edge.broker import stored_keys_nats
from services.edge.broker.broker_nats import NatsBroker
from services.edge.channel_settings import ChannelOptions
from tests.contract.broker import CHAT, CLASSES, NEWS, Listener, publication, store
from tests.edge.broker.test_broker_nats import broker
from tests.support.eventually import eventually
from tests.support.links import linked

pytestmark = pytest.mark.integration

BRIEF = {"chat": ChannelOptions(history_size=5, history_ttl=Duration(2))}


async def push_out(broker: NatsBroker) -> None:
    """Publishes as much as the channel keeps."""
    for i in range(CLASSES["chat"].history_size):
        await store(broker, CHAT, i)


async def keys_kept(url: str) -> int:
    async with linked(url) as link:
        state = await stream_state(link, subjects.KEYS_STREAM)
        assert state is not None
        return state.last - state.first + 1


async def test_a_key_whose_publication_was_pushed_out_is_known_after_a_restart_of_nats(nats_server):
    async with broker(nats_server.url, Listener()) as a, broker(nats_server.url, Listener()) as b:
        first = await store(a, CHAT, 1, "key")
        await push_out(a)
        nats_server.kill9()
        await eventually(lambda: not a.available and not b.available)
        nats_server.start()
        await eventually(lambda: a.available and b.available)
        for edge in (a, b):
            assert await store(edge, CHAT, 2, "key") == first
        other = await store(a, NEWS, 2, "key")
        assert other != first, "another channel's"


async def test_it_is_known_after_a_restart_of_everything(nats_server):
    async with broker(nats_server.url, Listener()) as a:
        first = await store(a, CHAT, 1, "key")
        await push_out(a)
    nats_server.stop()
    nats_server.start()
    async with broker(nats_server.url, Listener()) as a:
        again = await store(a, CHAT, 2, "key")
        assert again == StreamPosition(first.offset, a.epoch(CHAT))


async def test_a_key_of_a_publication_that_was_lost_is_not_known(nats_server):
    async with broker(nats_server.url, Listener()) as a:
        await store(a, CHAT, 0)
        await store(a, CHAT, 1, "key")
        async with linked(nats_server.url) as link:
            await link.stream_manager().delete_stream(subjects.log_address("chat", 3, CHAT.channel).stream)
        await a.state(CHAT)  # the edge has noticed
        again = await store(a, CHAT, 2, "key")
        newest = await a.newest(CHAT)
        assert newest is not None and newest.sequence == again.offset, "stored, as nothing of before is there"


async def test_a_key_is_remembered_no_longer_than_the_history(nats_server):
    async with broker(nats_server.url, Listener(), BRIEF) as a:
        first = await store(a, CHAT, 1, "key")
        kept = await keys_kept(nats_server.url)

        async def forgotten() -> bool:
            return await keys_kept(nats_server.url) < kept

        await eventually(forgotten)
        nats_server.kill9()
        await eventually(lambda: not a.available)
        nats_server.start()
        await eventually(lambda: a.available)
        assert (await store(a, CHAT, 2, "key")).offset > first.offset


async def test_keys_are_looked_up_only_while_nats_may_have_forgotten_them(nats_server, monkeypatch):
    looked_up: list[str] = []

    async def counted(link, stream, subject, timeout_s):
        looked_up.append(subject)
        return await read_last(link, stream, subject, timeout_s)

    monkeypatch.setattr(stored_keys_nats, "read_last", counted)
    async with broker(nats_server.url, Listener()) as a:
        await a.publish(CHAT, publication(1))
        assert looked_up == [], "no key"
        await store(a, CHAT, 1, "key")
        assert len(looked_up) == 1
        monkeypatch.setattr(a._publisher.keys, "_since", 0.0)  # long ago
        await store(a, CHAT, 1, "key2")
        assert len(looked_up) == 1
