"""Removes sessions that ended longer ago than the operator wants to keep them, with all their rows, and dead letters of
that age."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime, timedelta
from typing import Final

from services.chassis.postgres.pool import Pool
from services.sessions.instruments import Instruments
from services.sessions.store import StoreAway

log = logging.getLogger(__name__)

_INTERVAL_S: Final = 300.0
_PORTION: Final = 5_000  # sessions in one transaction, which stays short enough not to block others

_PRUNE: Final = """
WITH gone AS (
    DELETE FROM sessions WHERE id IN (
        SELECT id FROM sessions WHERE opened_at < $1 AND ended_at < $1 ORDER BY opened_at LIMIT $2
    ) RETURNING id
), closed AS (
    DELETE FROM connections WHERE session_id IN (SELECT id FROM gone) RETURNING id
), ended AS (
    DELETE FROM subscriptions WHERE connection IN (SELECT id FROM closed)
) SELECT count(*) FROM gone"""

# A writer's number is needed while its batches may be in the log, which is never longer than `keep`.
_PRUNE_WRITERS: Final = "DELETE FROM log_writers WHERE wrote_at < $1"

_PRUNE_LETTERS: Final = "DELETE FROM dead_letters WHERE put_aside_at < $1"


class Retention:
    """Removes sessions that ended more than `keep_s` seconds ago; 0 keeps them for ever."""

    def __init__(self, pool: Pool, keep_s: float, instruments: Instruments) -> None:
        self._pool = pool
        self._keep_s = keep_s
        self._instruments = instruments

    async def run(self) -> None:
        """Prunes every five minutes, until cancelled."""
        while self._keep_s:
            await asyncio.sleep(_INTERVAL_S)
            try:
                await self.prune(datetime.now(UTC))
            except StoreAway as error:
                log.warning("cannot remove old sessions now: %s", error)

    async def prune(self, now: datetime) -> int:
        """Removes what ended more than `keep_s` before `now`. Returns how many sessions. Raises `StoreAway`."""
        before = now - timedelta(seconds=self._keep_s)
        removed = 0
        async with self._pool.database() as database:
            while True:
                count: int = await database.fetchval(_PRUNE, before, _PORTION)
                removed += count
                self._instruments.pruned.inc(count)
                if count < _PORTION:
                    break
            await database.execute(_PRUNE_WRITERS, before)
            await database.execute(_PRUNE_LETTERS, before)
        if removed:
            log.info("removed %d sessions that ended before %s", removed, before.isoformat(timespec="seconds"))
        return removed
