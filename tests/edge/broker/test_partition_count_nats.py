from __future__ import annotations

import pytest

from services.chassis.nats.stream_making import ensure_stream, stream_config
from services.chassis.nats.streams import StreamState
from services.edge.broker.partition_count_nats import PARTITIONS_KEY, count_in, count_told_by
from tests.support.links import linked


def test_a_stream_that_says_nothing_of_it_says_nothing():
    assert count_in(None) == count_in(StreamState("a", 0, 0, {PARTITIONS_KEY: "many"})) == 0
    assert count_in(StreamState("a", 0, 0, {PARTITIONS_KEY: "16"})) == 16


@pytest.mark.integration
async def test_any_stream_that_is_there_tells(nats_server):
    async with linked(nats_server.url) as link:
        assert await count_told_by(link, ["ONE", "TWO"], 5) == 0
        await ensure_stream(link, stream_config("TWO", "two.>", 0, 60, metadata={PARTITIONS_KEY: "7"}))
        assert await count_told_by(link, ["ONE", "TWO"], 5) == 7
