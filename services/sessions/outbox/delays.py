"""Delays for channels whose next row could not be published: each waits by itself, and the others go on. Pure.

Times are in seconds, of any clock that does not go back.
"""

from __future__ import annotations

from typing import Final

MAX_DELAYED: Final = 1024
"""Channels. When this many wait, the failure is not about single channels, and all channels wait."""

_FIRST_S: Final = 0.2
_LONGEST_S: Final = 5.0


class Delays:
    """The channels that wait, each twice as long after each failure in a row, up to 5 s."""

    def __init__(self) -> None:
        self._of: dict[str, tuple[float, float]] = {}  # until when it waits, and how long the wait is

    def put_off(self, channel: str, now: float) -> float:
        """A publish to the channel has failed. Returns for how long the channel waits."""
        _, before = self._of.pop(channel, (0.0, _FIRST_S / 2))
        wait = min(2 * before, _LONGEST_S)
        self._of[channel] = now + wait, wait
        return wait

    def succeeded(self, channel: str) -> None:
        """A publish to the channel has succeeded."""
        self._of.pop(channel, None)

    def waiting(self, now: float) -> list[str] | None:
        """The channels that wait at `now`; None if all do, as too many failed."""
        found = [channel for channel, (until, _) in self._of.items() if until > now]
        if len(found) >= MAX_DELAYED:
            return None
        if len(self._of) >= 2 * MAX_DELAYED:  # forgets channels whose rows other relays have published since
            self._of = {channel: self._of[channel] for channel in found}
        return found
