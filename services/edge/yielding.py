"""Long loops that let the event loop run in between."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import Final, TypeVar

T = TypeVar("T")

STEPS: Final = 200
"""Items between two turns of the event loop: about a millisecond for a few microseconds each."""


async def yielding_every(items: Iterable[T], steps: int = STEPS) -> AsyncIterator[T]:
    """The items, with a turn of the event loop after every `steps` of them, in which anything may change."""
    for number, item in enumerate(items, 1):
        yield item
        if number % steps == 0:
            await asyncio.sleep(0)
