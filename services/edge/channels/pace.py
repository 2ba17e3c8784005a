"""Decides when fan-outs write: those to many subscribers take turns of the event loop with all other work."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

WAITING_BYTES: Final = 64 * 1024 * 1024
"""The limit for waiting batches of all channels of an edge: as much as NATS buffers for a slow client."""


class Pace(Protocol):
    """Tells the fan-out of each channel when to write. `waiting_bytes` counts the batches of all channels."""

    waiting_bytes: int

    def at_end_of_turn(self, work: Callable[[], object]) -> None:
        """Calls `work` at the end of this turn of the event loop."""

    def has_time(self) -> bool:
        """Whether to go on in this turn."""

    def wait(self, work: Callable[[], object]) -> None:
        """Calls `work` in a later turn, after all work that waits already."""


class AtOnce:
    """No turns: everything is written at once."""

    def __init__(self) -> None:
        self.waiting_bytes = 0

    def at_end_of_turn(self, work: Callable[[], object]) -> None:
        """Calls `work`."""
        work()

    def has_time(self) -> bool:
        """True."""
        return True

    def wait(self, work: Callable[[], object]) -> None:
        """Calls `work`."""
        work()
