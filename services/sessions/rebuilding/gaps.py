"""Counts messages of the session log that are gone, between those that are there. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from services.sessions.entries import Entry


class Gaps:
    """Is told all messages that there are, in order.

    `missing` and `lost` count those between them. The stream lets the oldest go because of their age, so those from
    before its beginning that are not in the archive either are lost. Those missing in its midst were erased, or
    deleted. `whole_since`: when the first message behind the lost ones was stored (Unix milliseconds; 0 without any).
    """

    def __init__(self) -> None:
        self._next: int | None = None
        self.missing = 0
        self.lost = 0
        self.whole_since = 0

    def begin(self) -> None:
        """What comes next is of another epoch of the log."""
        self._next = None

    def saw(self, entries: Sequence[Entry], begins: int | None) -> None:
        """The next messages. `begins`: the sequence of the first message of the stream, None if it has another epoch
        now."""
        for entry in entries:
            if self._next is not None and entry.sequence > self._next:
                end = entry.sequence if begins is None else min(entry.sequence, begins)
                lost = max(0, end - self._next)
                self.missing += entry.sequence - self._next - lost
                if lost:
                    self.lost += lost
                    self.whole_since = entry.stored_at
            self._next = entry.sequence + 1
