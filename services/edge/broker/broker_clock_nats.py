"""Asks NATS for its time, and keeps the broker's clock by it."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Final

from proto import subjects
from services.chassis.nats.headers import seconds_of
from services.chassis.nats.link import NatsAway, NatsLink
from services.chassis.nats.streams import stream_state
from services.edge.broker.broker_clock import BrokerClock

log = logging.getLogger(__name__)

INTERVAL_S: Final = 5.0
_AT_FIRST: Final = 3
"""Questions in a row at the beginning, so that one is answered quickly: the first publications are timed well."""


class NatsClock:
    """Follows the clock of the server that leads one stream, the same stream for all edges."""

    def __init__(self, link: NatsLink) -> None:
        self._link = link
        self.clock = BrokerClock(time.monotonic, time.time)

    async def run(self) -> None:
        """Asks until cancelled. While NATS is away, the clock runs on by the last answers."""
        asked = 0
        while True:
            await self._ask()
            asked += 1
            await asyncio.sleep(0 if asked < _AT_FIRST else INTERVAL_S)

    async def _ask(self) -> None:
        asked = time.monotonic()
        try:
            state = await stream_state(self._link, subjects.KEYS_STREAM)
        except NatsAway as error:
            log.debug("NATS did not say what time it is: %s", error)
            return
        if state is not None and state.answered_at:
            self.clock.answered(asked, time.monotonic(), seconds_of(state.answered_at))
