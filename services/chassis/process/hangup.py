"""SIGHUP, from the first moment of a process: until it can reload, the signal is remembered instead of ending it."""

from __future__ import annotations

import signal
from types import FrameType
from typing import Final


class Hangup:
    """Remembers SIGHUP. Call it in the main thread."""

    def __init__(self) -> None:
        self._came = False

    def hold(self) -> None:
        """Remembers the signal from now on."""
        signal.signal(signal.SIGHUP, self._remember)

    def _remember(self, number: int, frame: FrameType | None) -> None:
        self._came = True

    def take(self) -> bool:
        """Whether the signal has come since the last call."""
        came, self._came = self._came, False
        return came

    @staticmethod
    def ignore() -> None:
        """Ignores the signal from now on, as the process is ending."""
        signal.signal(signal.SIGHUP, signal.SIG_IGN)


HANGUP: Final = Hangup()
"""The one of this process."""
