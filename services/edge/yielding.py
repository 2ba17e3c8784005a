"""Long loops in slices, between which the event loop has its turn."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import Final, TypeVar

T = TypeVar("T")

STEPS: Final = 200
"""Steps between two turns of the event loop: about a millisecond for steps of a few microseconds."""


async def yielding_every(items: Iterable[T], steps: int = STEPS) -> AsyncIterator[T]:
    """The items, with a turn of the event loop after every `steps` of them: anything may have changed there."""
    for number, item in enumerate(items, 1):
        yield item
        if number % steps == 0:
            await asyncio.sleep(0)
