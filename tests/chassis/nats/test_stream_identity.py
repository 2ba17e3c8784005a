from __future__ import annotations

import pytest

from services.chassis.nats.link import NatsRefused
from services.chassis.nats.stream_identity import change_metadata, stored_at
from services.chassis.nats.streams import ensure_stream, store, stream_config, stream_state
from tests.support.links import linked

pytestmark = pytest.mark.integration

CONFIG = stream_config("S", "s.*", 3600, 60, metadata={"kept": "1"})


async def test_metadata_is_added_to_and_may_stay_as_it_is(nats_server):
    async with linked(nats_server.url) as link:
        made = await ensure_stream(link, CONFIG)
        changed = await change_metadata(link, "S", lambda state: {"epoch_was": state.epoch})
        assert changed.metadata["kept"] == "1" and changed.metadata["epoch_was"] == made.epoch == changed.epoch
        same = await change_metadata(link, "S", lambda state: None)
        assert same.metadata == changed.metadata
        with pytest.raises(NatsRefused):
            await change_metadata(link, "missing", lambda state: {})


async def test_the_time_of_a_message_is_the_one_that_the_state_names(nats_server):
    async with linked(nats_server.url) as link:
        await ensure_stream(link, CONFIG)
        stored = await store(link, "s.a", b"1", None)
        state = await stream_state(link, "S")
        assert state is not None and state.last_at
        assert await stored_at(link, "S", stored.sequence) == state.last_at
        assert await stored_at(link, "S", stored.sequence + 1) is None
