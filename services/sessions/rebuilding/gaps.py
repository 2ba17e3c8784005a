"""Counts messages of the session log that are missing between existing ones. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from services.sessions.entries import Entry


class Gaps:
    """Sees all existing messages, in order.

    `missing` and `lost` count the messages between them. The stream drops the oldest messages because of their age, so
    those from before its beginning that are not in the archive either are lost. Those that are missing in its middle
    were erased, or deleted. `whole_since`: when the first message behind the lost ones was stored (Unix milliseconds; 0
    if none was lost).
    """

    def __init__(self) -> None:
        self._next: int | None = None
        self.missing = 0
        self.lost = 0
        self.whole_since = 0

    def begin(self) -> None:
        """The next messages are of another epoch of the log."""
        self._next = None

    def saw(self, entries: Sequence[Entry], begins: int | None) -> None:
        """Takes the next messages. `begins`: the sequence of the first message of the stream, None if the stream has
        another epoch now."""
        for entry in entries:
            if self._next is not None and entry.sequence > self._next:
                end = entry.sequence if begins is None else min(entry.sequence, begins)
                lost = max(0, end - self._next)
                self.missing += entry.sequence - self._next - lost
                if lost:
                    self.lost += lost
                    self.whole_since = entry.stored_at
            self._next = entry.sequence + 1
