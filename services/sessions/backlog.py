"""How much of the log waits, in facts, and how long it takes to catch up. Pure: times are arguments, in seconds of any
clock."""

from __future__ import annotations

import logging
from typing import Final

log = logging.getLogger(__name__)

LARGE: Final = 500
"""From this number of waiting batches on, the log says how the service catches up: it folds as many in a second or
two."""

SAY_S: Final = 10.0
"""How often the log says that."""

_WINDOW_S: Final = 10.0  # in which rates are measured


class Backlog:
    """`facts`: how many facts wait, estimated from the number in the last batches. `left_s`: how long it takes to fold
    them at the present rate, if no more come; 0 if nothing waits, or nothing moves."""

    def __init__(self) -> None:
        self.facts = 0
        self.left_s = 0.0
        self._per_batch = 1.0
        self._window: tuple[float, int, int] | None = None  # its beginning; sequence and facts folded until then
        self._began: tuple[float, int, int] | None = None  # likewise, of the backlog that is logged
        self._said_at = float("-inf")

    def seen(self, waiting: int, sequence: int, facts: int, now: float) -> None:
        """`waiting` batches wait behind `sequence`, and this process has folded `facts` facts so far."""
        if self._window is None or sequence < self._window[1]:  # another log
            self._window, self._began = (now, sequence, facts), None
        since, first, before = self._window
        if sequence > first and facts > before:
            self._per_batch = (facts - before) / (sequence - first)
        rate = (sequence - first) / (now - since) if now > since else 0.0
        if now - since >= _WINDOW_S:
            self._window = now, sequence, facts
        self.facts = round(waiting * self._per_batch)
        self.left_s = waiting / rate if rate and waiting else 0.0
        self._tell(waiting, sequence, facts, now)

    def _tell(self, waiting: int, sequence: int, facts: int, now: float) -> None:
        if self._began is None:
            if waiting >= LARGE:
                self._began, self._said_at = (now, sequence, facts), now
            return
        since, first, before = self._began
        done, folded, taken = sequence - first, facts - before, max(now - since, 0.001)
        if not waiting:
            log.info("caught up with the session log: %d facts in %.0f s", folded, taken)
            self._began = None
        elif now - self._said_at >= SAY_S and done:
            self._said_at = now
            log.info(
                "catching up with the session log: %.0f%% of %d batches, %.0f facts a second, %.0f s left",
                100 * done / (done + waiting),
                done + waiting,
                folded / taken,
                self.left_s,
            )
