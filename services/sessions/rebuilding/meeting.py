"""Folds on until the tables beside reach the position of the live ones, and does some work while the live ones stay
there.

Facts may arrive as fast as they can be folded, and then the live tables are never reached while they move. So they are
held: the sessions service waits at the lock of its position for at most `HOLD_S`, and folds on in between. Edges, NATS
and questions do not notice this.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Final, Protocol

from services.chassis.postgres.errors import StoreAway
from services.chassis.postgres.pool import Database
from services.sessions.rebuilding.swap_postgres import Held
from services.sessions.store import Position

HOLD_S: Final = 4.0
"""For how long the sessions service waits at most each time: a third of the time after which it would log a warning."""

_SHORT_S: Final = 1.0
"""If a round takes less time than this, the rest can be folded while the service waits."""

_TRIES: Final = 30
_PAUSE_S: Final = 1.0


class LiveTables(Protocol):
    """The part of `swap_postgres.Live` that is needed here."""

    async def position(self) -> Position:
        """The position of the live tables."""

    def locked(self) -> AbstractAsyncContextManager[tuple[Database, Position]]:
        """A transaction in which the live tables stay at their position, and that position. Raises `Held`."""


class Following(Protocol):
    """The part of `refolding.Refolding` that is needed here."""

    position: Position

    async def to(self, target: Position, goes_on: Callable[[], bool] = ...) -> bool:
        """Folds on up to `target`, as long as `goes_on`. Whether it reached `target`."""


async def meet(
    live: LiveTables,
    refolding: Following,
    work: Callable[[Database, Position], Awaitable[None]],
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Does `work` in a transaction that holds the lock of the live position, once `refolding` has reached that
    position.

    Raises `StoreAway` if others hold locks of the live tables for half a minute, and what `refolding` raises.
    """
    await _approach(live, refolding, clock)
    tries, hold_s, left = 0, HOLD_S, float("inf")
    while True:
        try:
            async with live.locked() as (database, at):
                until, began = clock() + hold_s, refolding.position.sequence
                if await refolding.to(at, lambda: clock() < until):  # noqa: B023 - called within this turn only
                    await work(database, at)
                    return
                before, left = left, at.sequence - refolding.position.sequence
                if before - left < (refolding.position.sequence - began) / 2:  # the rest was folded live in between
                    hold_s *= 2
        except Held as held:
            _end_if_cancelled(held)
            tries += 1
            if tries >= _TRIES:
                raise StoreAway(str(held)) from held
            await asyncio.sleep(_PAUSE_S)


def _end_if_cancelled(held: Held) -> None:
    """Raises `CancelledError` if the task was cancelled: if that and a lock timeout come at once, asyncpg raises only
    the latter."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError from held


async def _approach(live: LiveTables, refolding: Following, clock: Callable[[], float]) -> None:
    """Folds up to the position of the live tables, and again as long as at most half as much is left each time. Nobody
    waits for this."""
    before = float("inf")
    while True:
        at, began = await live.position(), clock()
        left = at.sequence - refolding.position.sequence
        if left > before / 2:
            return
        await refolding.to(at)
        if clock() - began < _SHORT_S:
            return
        before = left
