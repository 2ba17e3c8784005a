"""One timer for all connections: each is in the slot of the tick at which it wants to be asked next. Reads no clock."""

from __future__ import annotations

import math
from typing import Final, Protocol

TICK_S: Final = 0.25
"""How late a ping or a timeout may be. They are counted in seconds, so a quarter is precise enough."""


class Timed(Protocol):
    """Something that wants to be asked at times. `wheel_tick` belongs to the wheel: 0 while it is not on it."""

    wheel_tick: int

    def on_time(self, now: float) -> float:
        """What is due at `now` is done; returns when to ask next, infinity for never."""


class TimingWheel:
    """See the module. Times are seconds of any one clock that does not go back."""

    def __init__(self, now: float) -> None:
        self._slots: dict[int, set[Timed]] = {}
        self._turned = int(now / TICK_S)

    def __len__(self) -> int:
        return sum(map(len, self._slots.values()))

    def add(self, item: Timed, at: float) -> None:
        """Asks `item` at `at`, or at the next tick if that is past; replaces what was arranged before."""
        self.remove(item)
        if at == math.inf:
            return
        tick = max(math.ceil(at / TICK_S), self._turned + 1)
        item.wheel_tick = tick
        self._slots.setdefault(tick, set()).add(item)

    def remove(self, item: Timed) -> None:
        """Forgets what was arranged."""
        slot = self._slots.get(item.wheel_tick)
        if slot is not None:
            slot.discard(item)
            if not slot:
                del self._slots[item.wheel_tick]
        item.wheel_tick = 0

    def turn(self, now: float) -> None:
        """Asks everything whose time has come."""
        tick = int(now / TICK_S)
        # After a stall many ticks are due: walk the slots that exist, not the numbers in between.
        due = (
            sorted(t for t in self._slots if t <= tick)
            if tick - self._turned > 64
            else range(self._turned + 1, tick + 1)
        )
        self._turned = max(self._turned, tick)
        for number in due:
            for item in self._slots.pop(number, ()):
                if item.wheel_tick != number:
                    continue  # removed or arranged anew by one that was asked before it
                item.wheel_tick = 0
                self.add(item, item.on_time(now))
