"""One timer for all connections: each is in the slot of the tick at which it is due next. Reads no clock."""

from __future__ import annotations

import math
from typing import Final, Protocol

TICK_S: Final = 0.25
"""How late a ping or a timeout may be. They are configured in seconds, so a quarter is precise enough."""


class Timed(Protocol):
    """Something with deadlines. `wheel_tick` belongs to the wheel; 0 while the item is not on it."""

    wheel_tick: int

    def on_time(self, now: float) -> float:
        """Does what is due at `now`; returns when to call again, infinity for never."""


class TimingWheel:
    """A timing wheel. Times are in seconds of one clock that does not go back."""

    def __init__(self, now: float) -> None:
        self._slots: dict[int, set[Timed]] = {}
        self._turned = int(now / TICK_S)

    def __len__(self) -> int:
        return sum(map(len, self._slots.values()))

    def add(self, item: Timed, at: float) -> None:
        """Calls `item` at `at`, or at the next tick if that is past. Replaces its previous time."""
        self.remove(item)
        if at == math.inf:
            return
        tick = max(math.ceil(at / TICK_S), self._turned + 1)
        item.wheel_tick = tick
        self._slots.setdefault(tick, set()).add(item)

    def remove(self, item: Timed) -> None:
        """Takes the item off the wheel, so that it is not called any more."""
        slot = self._slots.get(item.wheel_tick)
        if slot is not None:
            slot.discard(item)
            if not slot:
                del self._slots[item.wheel_tick]
        item.wheel_tick = 0

    def turn(self, now: float) -> None:
        """Calls all items that are due."""
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
                    continue  # removed or moved by an item that was called before it
                item.wheel_tick = 0
                self.add(item, item.on_time(now))
