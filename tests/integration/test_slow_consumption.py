"""An edge that does not read from NATS: the server drops its connection, and no subscriber of a history notices."""

from __future__ import annotations

import pytest

from proto import subjects
from tests.support.edges import api, connected
from tests.support.eventually import eventually
from tests.support.links import linked
from tests.support.metrics import metric, reaches

pytestmark = pytest.mark.integration

FLOOD_BYTES = 100 * 1024 * 1024
"""More than the 64 MB that NATS holds for a connection by default, and the buffers of the sockets."""
PIECE = b"x" * (512 * 1024)


async def test_an_edge_that_nats_drops_for_reading_too_slowly_comes_back_and_closes_every_gap(pair, nats_server):
    slow, other = pair
    async with (
        connected(slow, "reader") as reader,
        connected(slow, "flooded") as flooded,
        linked(nats_server.url) as link,
    ):
        await reader.subscribe("big:x")
        await flooded.subscribe("lossy:x")
        for number in range(5):
            assert "result" in (await api(other, "publish", {"channel": "big:x", "data": number})).json()
        assert await reader.publications("big:x", 5) == [0, 1, 2, 3, 4]
        slow.pause()
        for number in range(5, 100):
            assert "result" in (await api(other, "publish", {"channel": "big:x", "data": number})).json()
        for _ in range(FLOOD_BYTES // len(PIECE)):
            link.publish(subjects.ephemeral("lossy:x"), PIECE)
            await link.flush()
        for number in range(100, 120):
            assert "result" in (await api(other, "publish", {"channel": "big:x", "data": number})).json()
        slow.resume()
        assert await reader.publications("big:x", 115) == list(range(5, 120)), "once each, in order"
        await eventually(lambda: reaches(slow, "broker_losses_total", 1))
        assert await metric(slow, "syncs_total") >= 1
        assert await metric(other, "broker_losses_total") == 0
    assert "lost the connection to NATS" in slow.log()
