"""When fan-outs write: what many subscribers get takes its turns of the event loop with everything else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

WAITING_BYTES: Final = 64 * 1024 * 1024
"""Batches of all channels of an edge that wait for their turn: as much as NATS keeps for a client that is slow."""


class Pace(Protocol):
    """Tells the fan-out of each channel when to write. `waiting_bytes` counts the batches of all channels."""

    waiting_bytes: int

    def at_end_of_turn(self, work: Callable[[], object]) -> None:
        """Calls `work` at the end of this turn of the event loop."""

    def has_time(self) -> bool:
        """Whether to go on in this turn."""

    def wait(self, work: Callable[[], object]) -> None:
        """Calls `work` in a later turn, behind all others that wait."""


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
