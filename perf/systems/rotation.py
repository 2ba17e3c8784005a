"""The order in which systems are run: each repeat begins with a different system, so that none is always first.
Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


def rotated(items: Sequence[T], repeats: int) -> list[list[T]]:
    """The order of each repeat.

    Clock speed, caches and the machine's neighbours change over time, so a fixed order would favour one system.
    """
    step = max(1, len(items) // max(1, repeats))
    return [[*items[turn * step % len(items) :], *items[: turn * step % len(items)]] for turn in range(repeats)]
