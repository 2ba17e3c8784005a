from __future__ import annotations

import asyncio

import pytest

from services.chassis.nats.link import NatsAway
from services.chassis.nats.streams import store as store_in
from services.chassis.tracing.span import PRODUCER, working_in
from services.edge.broker import publisher_nats
from services.edge.broker.broker import BrokerAway
from tests.chassis.tracing.receiver_double import KeptSpans, tracer
from tests.contract.broker import CHAT, NEWS, PLAIN, Listener, publication, store
from tests.edge.broker.test_broker_nats import broker
from tests.support.eventually import eventually

pytestmark = pytest.mark.integration


async def test_publishes_that_nats_does_not_acknowledge_are_bounded_and_the_next_is_told_at_once(
    nats_server, monkeypatch
):
    monkeypatch.setattr(publisher_nats, "WAITING_PER_PLACE", 1)
    async with broker(nats_server.url, Listener()) as a:
        nats_server.pause()
        limit = 64
        under_way = [asyncio.create_task(store(a, NEWS, i)) for i in range(2 * limit)]
        await eventually(lambda: (a.in_flight.count, a.in_flight.waiting) == (limit, limit))
        for address, key in ((CHAT, ""), (PLAIN, "key")):
            with pytest.raises(BrokerAway, match="too many"):
                await a.publish(address, publication(1), key)
        assert a.in_flight.refused == 2
        await a.publish(PLAIN, publication(1))  # which waits for no acknowledgement
        nats_server.resume()
        offsets = [position.offset for position in await asyncio.gather(*under_way)]
        assert offsets == sorted(offsets), "in their order"
        assert (a.in_flight.count, a.in_flight.waiting) == (0, 0)


async def test_a_publish_that_is_not_acknowledged_in_time_says_so_and_leaves_its_place(nats_server, monkeypatch):
    async with broker(nats_server.url, Listener()) as a:
        monkeypatch.setattr(publisher_nats, "PUBLISH_DEADLINE_S", 0.1)
        nats_server.pause()
        with pytest.raises(BrokerAway, match="in time"):
            await store(a, NEWS, 1)
        nats_server.resume()
        monkeypatch.undo()
        assert a.in_flight.count == 0
        await store(a, NEWS, 2)


@pytest.mark.parametrize("used_before", [False, True])
async def test_without_history_a_key_is_published_once_also_when_an_acknowledgement_is_lost(
    nats_server, monkeypatch, used_before
):
    attempts = 0

    async def unheard_at_first(*arguments):
        nonlocal attempts
        attempts += 1
        stored = await store_in(*arguments)
        if attempts == 1:
            raise NatsAway("no answer in time", "timeout")
        return stored

    async with broker(nats_server.url, heard := Listener()) as a:
        await a.open(PLAIN)
        if used_before:
            await a.publish(PLAIN, publication(1), "key")
        monkeypatch.setattr(publisher_nats, "store", unheard_at_first)
        await a.publish(PLAIN, publication(1), "key")
        assert attempts == 2
        await a.publish(PLAIN, publication(2), confirm=True)
        await eventually(lambda: [bytes(each.data) for _, each in heard.ephemerals][-1:] == [b"2"])
        assert [bytes(each.data) for _, each in heard.ephemerals] == [b"1", b"2"]


async def test_the_time_until_an_acknowledgement_counts_from_the_first_attempt(nats_server, monkeypatch):
    attempts = 0

    async def unreached_at_first(*arguments):
        nonlocal attempts
        attempts += 1
        if attempts == 1:
            raise NatsAway("the link drops")
        return await store_in(*arguments)

    async with broker(nats_server.url, Listener()) as a:
        monkeypatch.setattr(publisher_nats, "store", unreached_at_first)
        monkeypatch.setattr(publisher_nats, "_RETRY_WAIT_S", 0.5)
        with working_in(tracer(KeptSpans()).begin("publish", PRODUCER, None, {})) as span:
            await store(a, NEWS, 1)
        assert attempts == 2 and a.in_flight.ack_seconds.count == 1
        named = [exemplar.trace_id for _, _, exemplar in a.in_flight.ack_seconds.buckets() if exemplar]
        assert named == [span.context.trace_id]
        assert a.in_flight.ack_seconds.sum >= 0.5, "its publisher has waited for both"
