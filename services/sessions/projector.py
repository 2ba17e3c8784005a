"""Carries facts from the log into the store: read a stretch, commit it, again; whatever is away is waited for.

The position lives in the store, beside the rows. So there is no consumer in NATS, a commit that failed is simply read
again, and a second instance of this service finds at its commit that the position has moved, and follows.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Final

from proto.events import EventBatch
from services.sessions.instruments import Instruments
from services.sessions.log_nats import LogAway, LogNewer, LogState, SessionLog, Stretch
from services.sessions.schema_postgres import SchemaRefused
from services.sessions.store import ORIGIN, Moved, Position, Store, StoreAway

log = logging.getLogger(__name__)

MAX_EVENTS: Final = 10_000
"""Facts in one transaction: a third of a second's work at the rate that we mean to reach."""

CHECK_INTERVAL_S: Final = 1.0
"""How often the log's identity and end are looked at."""

_RETRY_S: Final = (0.1, 2.0)  # first and longest pause
_RING_GRACE_S: Final = 0.03  # a message is heard a moment before it can be read
_GATHER_S: Final = 0.2
_FEW: Final = 10
"""While more facts than these come between two looks, it waits longer: larger transactions take half the CPU."""


class Projector:
    """`prepare` makes the store usable, before anything else and after it was away. `problem`: why it does not run."""

    def __init__(
        self, session_log: SessionLog, store: Store, prepare: Callable[[], Awaitable[None]], instruments: Instruments
    ) -> None:
        self._log = session_log
        self._store = store
        self._prepare = prepare
        self._instruments = instruments
        self._position = ORIGIN
        self._rung = asyncio.Event()
        self._newest_fact_ms = 0
        self.problem: str | None = "starting"
        self._last_seen: int | None = None  # the log's end, at the check before
        self.events_applied = 0
        self.lag_batches = 0
        self.caught_up = False

    @property
    def sequence(self) -> int:
        """The last sequence of the log that is in the store."""
        return self._position.sequence

    def ring(self) -> None:
        """There may be something new in the log."""
        self._rung.set()

    async def run(self) -> None:
        """Works until cancelled."""
        pause, longest = _RETRY_S
        while True:
            try:
                await self._work()
            except Moved as moved:
                log.info("another instance of this service is at work: following it from %d", moved.actual.sequence)
            except (StoreAway, LogAway, LogNewer, SchemaRefused) as error:
                if self.problem is None or self.problem == "starting":
                    log.warning("waiting: %s", error)
                    pause = _RETRY_S[0]
                self.problem = str(error)
                self.caught_up, self._last_seen = False, None
            await asyncio.sleep(pause)
            pause = min(pause * 2, longest)

    async def _work(self) -> None:
        await self._prepare()
        self._position = await self._store.position()
        await self._check()
        if self.problem is not None:
            log.info("at work from message %d of the session log", self._position.sequence + 1)
            self.problem = None
        reader = _ReadAhead(self._log, self._rung)
        try:
            await self._follow(reader)
        finally:
            await reader.close()

    async def _follow(self, reader: _ReadAhead) -> None:
        checked = time.monotonic()
        while True:
            stretch = await reader.read(self._position.sequence + 1)
            if stretch.upto > self._position.sequence:
                self._instruments.rejected.inc(stretch.rejected)
                for upto, batches in _portions(stretch):
                    await self._commit(upto, batches)
            if not stretch.more:
                many = sum(len(batch.events) for _, batch in stretch.batches) > _FEW
                await self._wait_for_ring(_GATHER_S if many else _RING_GRACE_S)
            if time.monotonic() - checked >= CHECK_INTERVAL_S:
                await self._check()
                checked = time.monotonic()

    async def _wait_for_ring(self, gather_s: float) -> None:
        try:
            async with asyncio.timeout(CHECK_INTERVAL_S):
                await self._rung.wait()
        except TimeoutError:
            return
        await asyncio.sleep(gather_s)

    async def _commit(self, upto: int, batches: list[EventBatch]) -> None:
        started = time.monotonic()
        after = Position(self._position.epoch, upto)
        outcome = await self._store.commit(self._position, after, batches)
        self._position = after
        instruments = self._instruments
        instruments.batch_seconds.observe(time.monotonic() - started)
        instruments.events.inc(outcome.events)
        instruments.duplicates.inc(outcome.duplicates)
        instruments.unknown.inc(outcome.unknown)
        instruments.resumed.inc(outcome.resumed)
        instruments.edges_lost.inc(outcome.edges_lost)
        self.events_applied += outcome.events
        self._newest_fact_ms = max((event.at for batch in batches for event in batch.events), default=0)

    async def _check(self) -> None:
        """Looks whether the log is still the one that the position speaks of, and how much of it is left to do."""
        stored = await self._store.position()  # also how an idle service notices that its store is away
        if stored != self._position:
            raise Moved(stored)
        state = await self._log.state()
        if state.epoch == self._position.epoch and state.last < self._position.sequence:
            log.error(
                "the session log ends at message %d, %d were applied: it was rolled back", state.last, self.sequence
            )
            state = await self._log.renew()
        if state.epoch != self._position.epoch:
            await self._start_over(state)
        self.lag_batches = max(0, state.last - max(self._position.sequence, state.first - 1))
        # While facts come, the newest are never in the store yet. That what was there a second ago is, will do: an edge
        # is lost by a silence of several seconds.
        self.caught_up = self.lag_batches == 0 or (
            self._last_seen is not None and self._position.sequence >= self._last_seen
        )
        self._last_seen = state.last
        self._instruments.lag_batches.set(self.lag_batches)
        behind = time.time() - self._newest_fact_ms / 1000 if self.lag_batches and self._newest_fact_ms else 0
        self._instruments.lag_seconds.set(max(0, behind))

    async def _start_over(self, state: LogState) -> None:
        """Reads another log from its beginning. The rows stay: what happened has happened."""
        before, self._last_seen = self._position, None
        if before != ORIGIN:
            self._instruments.recreated.inc()
            log.error(
                "the session log was made anew: epoch %s, was %s; reading it from its beginning. Facts of the old one "
                "behind message %d, if there were any, are lost; batches that are known are left out",
                state.epoch,
                before.epoch,
                before.sequence,
            )
        after = Position(state.epoch, 0)
        await self._store.commit(before, after, [])
        self._position = after


class _ReadAhead:
    """Reads the next stretch while the one before it is committed: PostgreSQL and we work at the same time.

    `rung` is cleared before each read, so that whatever is written after it was asked for leaves it set.
    """

    def __init__(self, session_log: SessionLog, rung: asyncio.Event) -> None:
        self._log = session_log
        self._rung = rung
        self._ahead: tuple[int, asyncio.Task[Stretch]] | None = None

    async def read(self, start: int) -> Stretch:
        if self._ahead is not None and self._ahead[0] == start:
            stretch = await self._ahead[1]
            self._ahead = None
        else:
            await self.close()  # the position jumped
            self._rung.clear()
            stretch = await self._log.read(start)
        if stretch.more:
            after = stretch.upto + 1
            self._rung.clear()
            self._ahead = after, asyncio.get_running_loop().create_task(self._log.read(after))
        return stretch

    async def close(self) -> None:
        if self._ahead is not None:
            self._ahead[1].cancel()
            await asyncio.gather(self._ahead[1], return_exceptions=True)
            self._ahead = None


def _portions(stretch: Stretch) -> Iterator[tuple[int, list[EventBatch]]]:
    """Cuts a stretch into transactions: up to which sequence each goes, and its batches. At least one."""
    portion: list[EventBatch] = []
    events = 0
    for sequence, batch in stretch.batches:
        portion.append(batch)
        events += len(batch.events)
        if events >= MAX_EVENTS and sequence < stretch.upto:
            yield sequence, portion
            portion, events = [], 0
    yield stretch.upto, portion
