"""The clock of the broker, as one edge knows it: edges measure by it how long a publication takes between them.

Clocks of machines differ by milliseconds and more, so an edge asks NATS for its time (as NTP does): the answer was made
between the question and the answer's arrival, which bounds the error by half of the round trip. The best answer of the
last minute counts. Between answers, time advances by the steady clock of the process, so setting the wall clock does no
harm. Pure.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final, NamedTuple

KEPT_SAMPLES: Final = 12
DRIFT: Final = 100e-6
"""How fast two clocks may drift apart, at most: seconds per second. Crystals are off by 20 to 50 millionths."""


class Sample(NamedTuple):
    """One answer. `ahead_s`: the broker's clock minus the steady one. `error_s` bounds the error of that."""

    at: float
    ahead_s: float
    error_s: float

    def error_at(self, now: float) -> float:
        """The bound as it has grown until `now`, a time of the steady clock."""
        return self.error_s + DRIFT * (now - self.at)


class BrokerClock:
    """`steady` is a clock that never jumps. `unix` is the wall clock of this machine, used until the first answer.

    `error_s` bounds the error of `now`, None before the first answer.
    """

    def __init__(self, steady: Callable[[], float], unix: Callable[[], float]) -> None:
        self._steady = steady
        self._unix = unix
        self._samples: deque[Sample] = deque(maxlen=KEPT_SAMPLES)
        self._ahead_s = unix() - steady()

    def now(self) -> float:
        """Unix time in seconds, by the clock of the broker."""
        return self._steady() + self._ahead_s

    @property
    def error_s(self) -> float | None:
        """The largest possible error of `now`."""
        return self._best().error_at(self._steady()) if self._samples else None

    @property
    def offset_s(self) -> float | None:
        """How much the broker's clock is ahead of the wall clock of this machine; None before the first answer."""
        return self.now() - self._unix() if self._samples else None

    def answered(self, asked: float, received: float, theirs: float) -> None:
        """The broker answered that its time was `theirs`; `asked` and `received` are times of the steady clock."""
        sample = Sample(received, theirs - (asked + received) / 2, (received - asked) / 2)
        if self._samples:
            best = self._best()
            if abs(best.ahead_s - sample.ahead_s) > best.error_at(received) + sample.error_s:
                self._samples.clear()  # the broker's clock was set, or another server answers
        self._samples.append(sample)
        self._ahead_s = self._best().ahead_s

    def _best(self) -> Sample:
        now = self._steady()
        return min(self._samples, key=lambda sample: sample.error_at(now))
