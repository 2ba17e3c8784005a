"""A circuit breaker: a backend that does not answer is not asked for a while. Pure.

Without it, a backend that hangs holds up every client until its deadline, and a backend that starts gets the questions
of all clients at once.
"""

from __future__ import annotations


class Breaker:
    """Opens after `failures` in a row (0: never), for `pause_s` seconds. Then it lets through one question in each
    pause: an answer closes it, and another failure opens it again. Times are the edge's own, in seconds.
    """

    def __init__(self, failures: int, pause_s: float) -> None:
        self._limit = failures
        self._pause_s = pause_s
        self._in_a_row = 0
        self._shut_until = 0.0  # while it is open

    @property
    def is_open(self) -> bool:
        """Whether so many questions in a row have failed that it has opened."""
        return 0 < self._limit <= self._in_a_row

    def lets_through(self, now: float) -> bool:
        """Whether a question may be asked. After a pause one may try, and the others wait for another pause."""
        if not self.is_open:
            return True
        if now < self._shut_until:
            return False
        self._shut_until = now + self._pause_s
        return True

    def answered(self) -> bool:
        """The backend answered. True if that closes the breaker."""
        closes, self._in_a_row = self.is_open, 0
        return closes

    def failed(self, now: float) -> bool:
        """The backend did not answer. True if that opens the breaker."""
        was_open = self.is_open
        self._in_a_row += 1
        if self.is_open:
            self._shut_until = now + self._pause_s
        return self.is_open and not was_open
