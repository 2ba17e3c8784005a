from __future__ import annotations

import pytest

from services.chassis.nats.streams import ensure_stream, stream_config
from services.edge.broker.silent_streams_nats import SilentStreams
from tests.support.eventually import eventually
from tests.support.links import linked

pytestmark = pytest.mark.integration


async def test_a_stream_that_answers_does_not_store_until_it_acknowledges_again(nats_server):
    async with linked(nats_server.url) as link:
        await ensure_stream(link, stream_config("S", "s.>", 60, 60))
        silent = SilentStreams(link)
        assert [silent.why("S"), silent.why("no such stream")] == ["timeout", "timeout"]
        await eventually(lambda: silent.why("S") == "storage")
        silent.stored("S")
        assert silent.why("S") == "timeout"
        assert silent.why("no such stream") == "timeout"
        silent.stop()
