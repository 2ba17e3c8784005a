"""An edge learns NATS's time from NATS itself, and keeps it when NATS is away."""

from __future__ import annotations

import asyncio
import time

import pytest

from services.edge.broker.broker_clock_nats import NatsClock
from tests.contract.broker import Listener
from tests.edge.broker.test_broker_nats import broker
from tests.support.eventually import eventually
from tests.support.links import linked

pytestmark = pytest.mark.integration


async def test_it_tells_nats_time_and_how_far_it_may_be_off(nats_server):
    async with broker(nats_server.url, Listener()), linked(nats_server.url) as link:
        nats_clock = NatsClock(link)
        following = asyncio.create_task(nats_clock.run())
        try:
            await eventually(lambda: nats_clock.clock.error_s is not None)
            clock = nats_clock.clock
            # NATS is on this machine here, so its clock is ours.
            assert abs(clock.now() - time.time()) <= (clock.error_s or 0) + 0.01
            nats_server.kill9()
            await eventually(lambda: not link.is_connected)
            assert abs(clock.now() - time.time()) <= (clock.error_s or 0) + 0.01
            assert not following.done()
        finally:
            following.cancel()
