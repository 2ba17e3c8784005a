"""How often the same line goes into the log. Pure."""

from __future__ import annotations

from typing import Final

_AGAIN_S: Final = 10.0
_LONGEST_S: Final = 300.0
_REMEMBERED: Final = 8
"""The number of texts: something that fails alternately for two reasons logs both in turn."""


class Complaint:
    """A new text is due at once, and again after 10 s, 20 s, 40 s and so on, up to 5 minutes."""

    def __init__(self) -> None:
        self._said: dict[str, tuple[float, float]] = {}  # when each text is due again, and how long it waits then

    def due(self, text: str, now: float) -> bool:
        """Whether to log this text at `now`, in seconds of any clock."""
        due_at, wait_s = self._said.pop(text, (now, _AGAIN_S))
        if now < due_at:
            self._said[text] = due_at, wait_s
            return False
        while len(self._said) >= _REMEMBERED:
            del self._said[next(iter(self._said))]
        self._said[text] = now + wait_s, min(2 * wait_s, _LONGEST_S)
        return True
