from __future__ import annotations

import asyncio

import pytest

from services.chassis.nats.link import NatsRefused
from services.chassis.nats.stream_identity import LEASE_S, Lock, change_metadata, stored_at
from services.chassis.nats.stream_making import ensure_stream, stream_config
from services.chassis.nats.streams import StreamState, store, stream_state
from tests.support.links import linked

pytestmark = pytest.mark.integration

CONFIG = stream_config("S", "s.*", 3600, 60, metadata={"kept": "1"})
LOCKS = stream_config("LOCKS", "lock.*", 0, 1, max_msgs_per_subject=1)
LOCK = Lock("LOCKS", "lock.S")


async def test_metadata_is_added_to_and_may_stay_as_it_is(nats_server):
    async with linked(nats_server.url) as link:
        made = await ensure_stream(link, CONFIG)
        await ensure_stream(link, LOCKS)
        changed = await change_metadata(link, "S", lambda state: {"epoch_was": state.epoch}, LOCK)
        assert changed.metadata["kept"] == "1" and changed.metadata["epoch_was"] == made.epoch == changed.epoch
        same = await change_metadata(link, "S", lambda state: None, LOCK)
        assert same.metadata == changed.metadata
        with pytest.raises(NatsRefused):
            await change_metadata(link, "missing", lambda state: {}, LOCK)


async def test_of_many_who_change_at_once_each_sees_what_the_others_made(nats_server):
    async with linked(nats_server.url) as link:
        await ensure_stream(link, CONFIG)
        await ensure_stream(link, LOCKS)

        def one_more(state: StreamState) -> dict[str, str]:
            return {"count": str(int(state.metadata.get("count", "0")) + 1)}

        await asyncio.gather(*(change_metadata(link, "S", one_more, LOCK) for _ in range(10)))
        state = await stream_state(link, "S")
        assert state is not None and state.metadata["count"] == "10"


async def test_a_lock_whose_holder_was_killed_is_taken_over(nats_server):
    async with linked(nats_server.url) as link:
        await ensure_stream(link, CONFIG)
        await ensure_stream(link, LOCKS)
        await store(link, LOCK.subject, b"held", None)
        async with asyncio.timeout(LEASE_S * 4):
            changed = await change_metadata(link, "S", lambda state: {"x": "1"}, LOCK)
        assert changed.metadata["x"] == "1"


async def test_the_time_of_a_message_is_the_one_that_the_state_names(nats_server):
    async with linked(nats_server.url) as link:
        await ensure_stream(link, CONFIG)
        stored = await store(link, "s.a", b"1", None)
        state = await stream_state(link, "S")
        assert state is not None and state.last_at
        assert await stored_at(link, "S", stored.sequence) == state.last_at
        assert await stored_at(link, "S", stored.sequence + 1) is None
