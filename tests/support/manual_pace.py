"""The pace of fan-outs, set by a test."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable


class ManualPace:
    """Turns of the event loop that a test ends. In each there is time for `steps` steps."""

    def __init__(self, steps: int = 1_000_000) -> None:
        self.waiting_bytes = 0
        self.steps = self._left = steps
        self._at_end: list[Callable[[], object]] = []
        self._waiting: deque[Callable[[], object]] = deque()

    def at_end_of_turn(self, work: Callable[[], object]) -> None:
        """Keeps `work` for `end_turn`."""
        self._at_end.append(work)

    def has_time(self) -> bool:
        """Takes a step of this turn."""
        self._left -= 1
        return self._left >= 0

    def wait(self, work: Callable[[], object]) -> None:
        """Keeps `work` for the next turn."""
        self._waiting.append(work)

    def end_turn(self) -> None:
        """Does what is due at the end of this turn, then begins the next one with the work that waits."""
        at_end, self._at_end = self._at_end, []
        for work in at_end:
            work()
        self._left = self.steps
        waiting, self._waiting = self._waiting, deque()
        while waiting:
            waiting.popleft()()
            if self._left <= 0:
                break
        self._waiting.extendleft(reversed(waiting))

    @property
    def idle(self) -> bool:
        """Whether nothing is left to do."""
        return not self._at_end and not self._waiting
