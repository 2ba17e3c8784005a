"""How far PostgreSQL is behind the session log, measured independently of the projector, which may be unable to
work."""

from __future__ import annotations

import asyncio
import time
from typing import Final

from services.sessions.backlog import Backlog
from services.sessions.instruments import Instruments
from services.sessions.log_nats import LogAway, SessionLog
from services.sessions.projector import Projector

INTERVAL_S: Final = 1.0


class ProjectionWatch:
    """`lag_batches` and the age of the oldest fact that waits, once a second. NATS's clock measures the age.

    While NATS is away nobody knows what waits; then the age goes on growing, if something waited before.
    """

    def __init__(self, session_log: SessionLog, projector: Projector, instruments: Instruments) -> None:
        self._log = session_log
        self._projector = projector
        self._instruments = instruments
        self._waits_since: float | None = time.monotonic()  # until it is known what waits
        self._backlog = Backlog()
        self.lag_batches = 0

    async def run(self) -> None:
        """Measures until cancelled."""
        while True:
            if self._projector.located:
                await self._look()
            self._instruments.lag_batches.set(self.lag_batches)
            age = 0.0 if self._waits_since is None else time.monotonic() - self._waits_since
            self._instruments.projection_age.set(age)
            self._instruments.lag_events.set(self._backlog.facts)
            self._instruments.catch_up.set(self._backlog.left_s)
            await asyncio.sleep(INTERVAL_S)

    async def _look(self) -> None:
        sequence = self._projector.sequence
        try:
            waiting = await self._log.waiting_after(sequence)
        except LogAway:
            return
        self.lag_batches = waiting.batches
        self._backlog.seen(waiting.batches, sequence, self._projector.events_applied, time.monotonic())
        self._waits_since = time.monotonic() - waiting.oldest_age_s if waiting.batches else None
