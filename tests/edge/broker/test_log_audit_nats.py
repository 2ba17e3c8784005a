"""The audit on a real NATS: what it asks, and what a stream that does not answer keeps back."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from services.chassis.nats import streams
from services.chassis.nats.link import NatsAway
from services.chassis.nats.stream_reads import read_last_of
from services.edge.broker import log_audit_nats, log_streams_nats, stream_gates_nats
from services.edge.broker.broker import ChannelAddress
from tests.contract.broker import CHAT, NEWS, Listener, store
from tests.edge.broker.test_broker_nats import broker
from tests.support.eventually import eventually

pytestmark = pytest.mark.integration


async def test_an_audit_asks_only_for_what_an_earlier_one_has_not_seen(nats_server, monkeypatch):
    asked: list[int] = []

    async def counted(link, stream, of, after=0):
        asked.append(len(of))
        return await read_last_of(link, stream, of, after)

    monkeypatch.setattr(log_audit_nats, "read_last_of", counted)
    async with broker(nats_server.url, Listener(), partitions=1) as a:
        quiet, busy = ChannelAddress("news:quiet", "news"), ChannelAddress("news:busy", "news")
        await a.open(quiet)
        await a.open(busy)
        await a.index.after(quiet, a.epoch(quiet), 0, 0)  # the message of the day is stored
        positions = {quiet: (await store(a, quiet, 1)).offset, busy: (await store(a, busy, 1)).offset}
        assert (await a.audit(positions)).behind == {} and asked == [1], "one is behind the stream, maybe by nothing"
        assert (await a.audit(positions)).behind == {} and asked == [1], "and was found not to be"
        missed = await store(a, quiet, 2)
        assert (await a.audit(positions)).behind == {quiet: missed.offset}
        assert (await a.audit(positions)).behind == {quiet: missed.offset}, "until it is caught up"
        assert (await a.audit(positions | {quiet: missed.offset})).behind == {}


async def test_what_is_known_of_one_stream_is_not_lost_with_another_that_is_silent(nats_server, monkeypatch):
    async with broker(nats_server.url, Listener()) as a:
        states, silent = streams.stream_state, a.health.unanswered
        position = (await store(a, CHAT, 1)).offset

        async def state(link, name):
            if name.startswith("CH_news"):
                raise NatsAway("silent", "timeout")
            return await states(link, name)

        monkeypatch.setattr(log_streams_nats, "stream_state", state)
        missed = (await store(a, CHAT, 2)).offset
        audit = await a.audit({NEWS: 0, CHAT: position})
        assert audit.behind == {CHAT: missed} and audit.unknown == {NEWS} and audit.why == "silent"
        assert len(silent) == 1


async def test_what_is_known_of_a_stream_is_not_lost_when_it_falls_silent(nats_server, monkeypatch):
    asked = 0

    async def once(link, stream, of, after=0):
        nonlocal asked
        asked += 1
        if asked > 1:
            raise NatsAway("silent", "timeout")
        return await read_last_of(link, stream, of, after)

    monkeypatch.setattr(log_audit_nats, "read_last_of", once)
    monkeypatch.setattr(log_audit_nats, "MULTI_LAST_SUBJECTS", 1)
    async with broker(nats_server.url, Listener(), partitions=1) as a:
        other = ChannelAddress("chat:other", "chat")
        missed = (await store(a, CHAT, 1)).offset
        audit = await a.audit({CHAT: 0, other: 0})
        assert audit.behind == {CHAT: missed} and audit.unknown == {CHAT, other}


async def test_an_audit_asks_each_stream_although_another_does_not_answer(nats_server, monkeypatch):
    async with broker(nats_server.url, Listener()) as a:
        monkeypatch.setattr(log_streams_nats, "API_TIMEOUT_S", 0.2)
        nats_server.pause()
        assert (await a.audit({NEWS: 0, CHAT: 0})).unknown == {NEWS, CHAT}
        await eventually(lambda: len(a.health.unanswered) == 2)
        nats_server.resume()


async def test_a_stream_whose_channels_are_closed_counts_no_more_once_it_answers(nats_server, monkeypatch):
    monkeypatch.setattr(stream_gates_nats, "CHECK_AGAIN_S", 0.1)
    async with broker(nats_server.url, Listener()) as a:
        await a.open(CHAT)
        monkeypatch.setattr(log_streams_nats, "API_TIMEOUT_S", 0.2)
        nats_server.pause()
        await a.audit({CHAT: 0})
        a.close(CHAT)
        assert len(a.health.unanswered) == 1
        nats_server.resume()
        await eventually(lambda: not a.health.unanswered)


async def test_a_stream_without_a_majority_counts_until_it_has_one(nats_server, monkeypatch):
    monkeypatch.setattr(stream_gates_nats, "CHECK_AGAIN_S", 0.1)
    states, majority = streams.stream_state, False

    async def state(link, name):
        found = await states(link, name)
        assert found is not None
        return replace(found, has_majority=majority)

    monkeypatch.setattr(log_streams_nats, "stream_state", state)
    async with broker(nats_server.url, Listener()) as a:
        await a.state(CHAT)  # it is still read
        assert len(a.health.unanswered) == 1
        majority = True
        await eventually(lambda: not a.health.unanswered)


async def test_nobody_needs_to_wait_for_the_state_of_a_stream(nats_server, monkeypatch):
    """Its failure would be reported as one that nobody read."""
    async with broker(nats_server.url, Listener()) as a:
        monkeypatch.setattr(log_streams_nats, "API_TIMEOUT_S", 0.2)
        nats_server.pause()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(a.state(CHAT), 0.05)
        await eventually(lambda: len(a.health.unanswered) == 1)
        nats_server.resume()
