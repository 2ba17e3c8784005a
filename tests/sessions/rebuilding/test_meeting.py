"""The tables beside meet the live ones, however fast these move, and hold them up for a bounded time only."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest

from services.chassis.postgres.errors import StoreAway
from services.chassis.postgres.pool import Database
from services.sessions.rebuilding import meeting
from services.sessions.rebuilding.meeting import HOLD_S, meet
from services.sessions.rebuilding.swap_postgres import Held
from services.sessions.store import Position

PORTION = 1_000
"""Messages in one commit."""


class Log:
    """A log of which the live tables and those beside fold so many messages a second; in this time so many are written
    that the live ones are never idle. While they are held, they stay where they are, and then one commit goes through.
    """

    def __init__(self, live_rate: float, beside_rate: float, live: int, commit: int = PORTION) -> None:
        self.now = 0.0
        self.live_rate, self.beside_rate, self.commit = live_rate, beside_rate, commit
        self.live = float(live)
        self.position = Position("e", 0)
        self.is_held = False
        self.holds: list[float] = []
        self.times_others_hold_it = 0
        self.is_interrupted = False

    async def position_(self) -> Position:
        return Position("e", int(self.live))

    @asynccontextmanager
    async def locked(self) -> AsyncIterator[tuple[Database, Position]]:
        if self.times_others_hold_it:
            self.times_others_hold_it -= 1
            if self.is_interrupted:
                await _lost_interrupt()
            raise Held("others hold it")
        began, self.is_held = self.now, True
        try:
            yield cast("Database", None), Position("e", int(self.live))
        finally:
            self.is_held = False
            self.holds.append(self.now - began)
            self.live += self.commit

    async def to(self, target: Position, goes_on: Callable[[], bool] = lambda: True) -> bool:
        while self.position != target:
            many = min(PORTION, target.sequence - self.position.sequence)
            self.position = Position("e", self.position.sequence + many)
            self.now += many / self.beside_rate
            if not self.is_held:
                self.live += many / self.beside_rate * self.live_rate
            if not goes_on():
                break
        return self.position == target


async def _lost_interrupt() -> None:
    """As of asyncpg, where a statement fails at the moment when its task is cancelled."""
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.sleep(0)


class Live:
    def __init__(self, log: Log) -> None:
        self.position, self.locked = log.position_, log.locked


async def met(log: Log) -> None:
    """Lets both meet, and checks that they did."""
    found: list[tuple[Position, Position, bool]] = []

    async def work(database: Any, at: Position) -> None:
        found.append((log.position, at, log.is_held))

    await meet(Live(log), log, work, lambda: log.now)
    assert found == [(Position("e", found[0][1].sequence),) * 2 + (True,)]


async def test_who_is_faster_is_there_at_the_first_hold() -> None:
    log = Log(live_rate=1_000, beside_rate=20_000, live=2_000_000)
    await met(log)
    assert len(log.holds) == 1 and log.holds[0] < 1.0


@pytest.mark.parametrize("live_rate", [20_000, 21_000, 60_000], ids=["as fast", "faster", "three times as fast"])
async def test_facts_that_arrive_faster_than_they_are_folded_are_caught_up_with(live_rate: float) -> None:
    log = Log(live_rate, beside_rate=20_000, live=1_000_000)
    await met(log)
    assert max(log.holds) < HOLD_S + 0.1, "the service is never held up for longer at once"
    assert 1 < len(log.holds) < 50


async def test_who_folds_more_in_between_is_held_for_longer_each_time() -> None:
    log = Log(live_rate=2_000, beside_rate=1_000, live=200_000, commit=30_000)
    await met(log)
    assert HOLD_S < max(log.holds) < 20 * HOLD_S and len(log.holds) < 40


async def test_tables_that_others_hold_are_waited_for_and_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meeting, "_PAUSE_S", 0.0)
    log = Log(live_rate=1, beside_rate=20_000, live=10)
    log.times_others_hold_it = 29
    await met(log)
    log = Log(live_rate=1, beside_rate=20_000, live=10)
    log.times_others_hold_it = 30
    with pytest.raises(StoreAway, match="others hold it"):
        await met(log)


async def test_an_interrupt_during_the_wait_for_a_lock_ends_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(meeting, "_PAUSE_S", 0)
    log = Log(live_rate=0, beside_rate=1e9, live=10)
    log.times_others_hold_it, log.is_interrupted = 3, True
    with pytest.raises(asyncio.CancelledError):
        await met(log)
    assert log.times_others_hold_it == 2
