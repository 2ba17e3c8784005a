"""Folds on until the tables beside are where the live ones are, and does something while the live ones stay there."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from services.chassis.postgres.errors import StoreAway
from services.chassis.postgres.pool import Database
from services.sessions.rebuilding.refolding import Refolding
from services.sessions.rebuilding.swap_postgres import Held, Live
from services.sessions.store import Position

MAX_GAP: Final = 64
"""Messages that are folded while the sessions service waits: some tenths of a second at the worst."""

_TRIES: Final = 30
_PAUSE_S: Final = 1.0


async def meet(live: Live, refolding: Refolding, work: Callable[[Database, Position], Awaitable[None]]) -> None:
    """Does `work` in a transaction that holds the lock of the live position, once `refolding` is there.

    Raises `StoreAway` if others hold locks of the live tables for half a minute, and what `refolding` raises.
    """
    tries = 0
    while True:
        await refolding.to(await live.position())
        try:
            async with live.locked() as (database, at):
                if _gap(refolding.position, at) <= MAX_GAP:
                    await refolding.to(at)
                    await work(database, at)
                    return
        except Held as held:
            tries += 1
            if tries >= _TRIES:
                raise StoreAway(str(held)) from held
            await asyncio.sleep(_PAUSE_S)


def _gap(folded: Position, live: Position) -> int:
    """The messages between; none if the log is another one, which folding on then finds out."""
    return live.sequence - folded.sequence if folded.epoch == live.epoch else 0
