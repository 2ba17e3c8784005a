"""How often a line that says the same again goes into the log. Pure."""

from __future__ import annotations

from typing import Final

_AGAIN_S: Final = 10.0
_LONGEST_S: Final = 300.0


class Complaint:
    """At once when it says something new, then after 10 s, 20 s, 40 s and so on, up to 5 minutes."""

    def __init__(self) -> None:
        self._text = ""
        self._due_at = 0.0
        self._wait_s = _AGAIN_S

    def due(self, text: str, now: float) -> bool:
        """Whether to say this now, a time of any clock in seconds."""
        if text != self._text:
            self._text, self._wait_s = text, _AGAIN_S
        elif now < self._due_at:
            return False
        else:
            self._wait_s = min(2 * self._wait_s, _LONGEST_S)
        self._due_at = now + self._wait_s
        return True
