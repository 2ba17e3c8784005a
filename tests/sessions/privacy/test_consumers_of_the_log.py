"""An erasure takes no facts about others away from durable consumers of the log."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig

from proto import subjects
from proto.events import Closed, Erased, SessionEvent, decode_batch
from services.sessions.privacy.erasure import READING, Erasure
from services.sessions.privacy.person import Person
from services.sessions.privacy.progress import Incomplete
from tests.sessions.privacy.places import place
from tests.support.eventually import eventually
from tests.support.processes import Services
from tests.support.servers import NatsServer, Postgres

pytestmark = pytest.mark.integration

BILLING = ConsumerConfig(durable_name="billing", ack_policy=AckPolicy.EXPLICIT, max_ack_pending=1)


@pytest.fixture
async def jetstream(nats_server: NatsServer) -> AsyncIterator[JetStreamContext]:
    client = Client()
    await client.connect(nats_server.url)
    yield client.jetstream()
    await client.close()


async def _read(jetstream: JetStreamContext, messages: int) -> list[SessionEvent]:
    """The facts in the next messages for the consumer, which it acknowledges."""
    facts: list[SessionEvent] = []
    mine = await jetstream.pull_subscribe_bind("billing", subjects.SESSIONS_STREAM)
    for _ in range(messages):
        (message,) = await mine.fetch(1)
        facts += decode_batch(message.data).events
        await message.ack_sync()
    await mine.unsubscribe()
    return facts


def _connections_of(facts: list[SessionEvent]) -> set[str]:
    return {fact.connection for fact in facts if not isinstance(fact, Erased) and hasattr(fact, "connection")}


async def test_nothing_is_erased_before_each_has_acknowledged_it(
    services: Services, nats_server: NatsServer, postgres: Postgres, jetstream: JetStreamContext
) -> None:
    async with place(services, nats_server, postgres) as it:
        await jetstream.add_consumer(subjects.SESSIONS_STREAM, BILLING)
        erasure = await it.searched("ann", patience_s=0.3)
        with pytest.raises(Incomplete, match=r"acknowledged it: billing \(up to 0\).* or remove those .*consumer rm"):
            await erasure.erase()
        assert "SESSIONS" in await it.where('"ann"')
        assert _connections_of(await _read(jetstream, 1)) == {"c1", "c2"}
        await it.erase("ann")
        assert await it.where('"ann"') == set()


async def test_what_comes_meanwhile_is_waited_for_too(
    services: Services, nats_server: NatsServer, postgres: Postgres, jetstream: JetStreamContext
) -> None:
    async with place(services, nats_server, postgres) as it:
        await jetstream.add_consumer(subjects.SESSIONS_STREAM, BILLING)
        await _read(jetstream, 1)
        steps: list[tuple[str, int, int]] = []
        erasure = Erasure(it.link, it.pool, Person("ann"), [], lambda *step: steps.append(step))
        await erasure.search()
        await it.written(Closed(1_002, "c1", 1000, "late of ann"), Closed(1_003, "c2", 1000))
        erasing = asyncio.create_task(erasure.erase())
        await eventually(lambda: (READING, 1, 2) in steps)  # the consumer has read the first of two messages
        closed = await _read(jetstream, 1)
        await erasing
        (erased,) = await _read(jetstream, 1)
        assert _connections_of(closed) == {"c1", "c2"} and isinstance(erased, Erased)
        assert await it.where("late of ann") == set()


async def test_one_that_nobody_uses_is_removed_and_one_that_is_not_durable_is_not_waited_for(
    services: Services, nats_server: NatsServer, postgres: Postgres, jetstream: JetStreamContext
) -> None:
    async with place(services, nats_server, postgres) as it:
        await jetstream.add_consumer(subjects.SESSIONS_STREAM, BILLING)
        await jetstream.add_consumer(subjects.SESSIONS_STREAM, ConsumerConfig(name="for_now", inactive_threshold=60))
        with pytest.raises(Incomplete, match="billing"):
            await (await it.searched("ann", patience_s=0.3)).erase()
        await jetstream.delete_consumer(subjects.SESSIONS_STREAM, "billing")
        await it.erase("ann")
        assert await it.where('"ann"') == set()
