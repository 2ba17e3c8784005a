"""Open-loop pacing: when each connection of a run is due. Pure: time is an argument.

Due times depend on the clock alone, never on the server. A generator that waited for replies would send less exactly
when the server stalls, and so leave the stall out of its figures (coordinated omission).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Schedule:
    """`count` events at `rate` a second, of which this process takes every `step`-th from `first` on.

    The processes interleave, instead of taking consecutive parts, so that the arrival rate of the whole run is even.
    Raises ValueError for a rate that is not above 0, a negative count, or an impossible share.
    """

    count: int
    rate: float
    first: int = 0
    step: int = 1

    def __post_init__(self) -> None:
        if not self.rate > 0:
            raise ValueError(f"expected a rate above 0, got {self.rate}")
        if self.count < 0 or self.step < 1 or not 0 <= self.first < self.step:
            raise ValueError(f"no share of {self.count} events: first {self.first}, step {self.step}")

    @property
    def share(self) -> range:
        """The numbers of the events that this process takes."""
        return range(self.first, self.count, self.step)

    def due(self, index: int) -> float:
        """Seconds from the start of the run to event `index`."""
        return index / self.rate


class Pacer:
    """Goes through a process's share of a schedule once."""

    def __init__(self, schedule: Schedule) -> None:
        self._schedule = schedule
        self._share = schedule.share
        self._position = 0

    @property
    def next_due(self) -> float | None:
        """Seconds from the start to the next event; None if all were taken."""
        if self._position >= len(self._share):
            return None
        return self._schedule.due(self._share[self._position])

    def take(self, elapsed_s: float, at_most: int) -> list[tuple[int, float]]:
        """The events that are due `elapsed_s` after the start and were not taken before, as (number, due), in order.

        At most `at_most` of them, so that a late generator does not block its loop; the rest stay due.
        """
        taken: list[tuple[int, float]] = []
        while len(taken) < at_most:
            due = self.next_due
            if due is None or due > elapsed_s:
                break
            taken.append((self._share[self._position], due))
            self._position += 1
        return taken
