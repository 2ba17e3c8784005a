"""The progress of a fold, for people: a bar on a terminal, a line every 5 s elsewhere. Pure but for `write`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

_WIDTH: Final = 30
_EVERY_S: Final = 0.2
_LINE_EVERY_S: Final = 5.0


class Bar:
    """Shows progress in `total` messages. `clock` is in seconds. `on_terminal`: one line that changes."""

    def __init__(self, write: Callable[[str], object], on_terminal: bool, clock: Callable[[], float]) -> None:
        self._write = write
        self._on_terminal = on_terminal
        self._clock = clock
        self._began = clock()
        self._told_at = self._began
        self._total = 0
        self.messages = 0
        self.facts = 0

    def begin(self, total: int) -> None:
        """About `total` messages are to be folded."""
        self._total = total

    def told(self, messages: int, facts: int) -> None:
        """Counts further folded messages, with their facts."""
        self.messages += messages
        self.facts += facts
        now = self._clock()
        if now - self._told_at >= (_EVERY_S if self._on_terminal else _LINE_EVERY_S):
            self._told_at = now
            self._write(f"\r\x1b[K{self.line()}" if self._on_terminal else f"{self.line()}\n")

    def end(self) -> None:
        """Ends the display, so that the terminal's line is free again."""
        if self._on_terminal:
            self._write("\r\x1b[K")

    def line(self) -> str:
        """The progress so far, and the time that is left."""
        share = min(self.messages / self._total, 1.0) if self._total else 1.0
        taken = max(self._clock() - self._began, 0.001)
        left = taken / share - taken if share else 0.0
        full = int(share * _WIDTH)
        bar = "█" * full + "░" * (_WIDTH - full)
        rate = f"{self.facts:,} facts, {self.facts / taken:,.0f} a second"
        return f"{bar} {share:4.0%}  {rate}, {_duration(left)} left"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
