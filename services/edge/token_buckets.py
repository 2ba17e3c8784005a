"""Token buckets: how often something may happen, for each of many keys. Pure; times are seconds of any clock.

A bucket is one number, the time at which it is full again (the generic cell rate algorithm). A bucket that is full
again is the same as no bucket, so the buckets are kept in two generations, and each change of generation forgets those
that have been full for long. This needs no task and no timer, and an idle client costs nothing.
"""

from __future__ import annotations

from typing import Final

from services.chassis.process.settings import Rate

MAX_KEYS: Final = 200_000
"""Keys in one generation. A flood of more keys begins the next generation early, which forgets the keys used longest
ago, so that nobody is refused for what others did."""


class TokenBuckets:
    """Buckets of one rate, one for each key. A rate of 0 sets no limit."""

    __slots__ = ("_each_s", "_older", "_recent", "_seconds", "_turns_at")

    def __init__(self, rate: Rate) -> None:
        self._each_s = rate.seconds / rate.amount if rate else 0.0
        self._seconds = rate.seconds
        self._recent: dict[str, float] = {}
        self._older: dict[str, float] = {}
        self._turns_at = 0.0

    def __len__(self) -> int:
        """How many buckets are kept."""
        return len(self._recent) + len(self._older)

    def take(self, key: str, now: float, amount: int = 1) -> float:
        """Takes `amount` tokens out of the key's bucket. Returns 0.0, or the seconds until there will be that many.

        Nothing is taken if there are too few.
        """
        each_s = self._each_s
        if not each_s:
            return 0.0
        if now >= self._turns_at:
            self._turn(now)
        recent = self._recent
        full_at = recent.get(key) or self._older.get(key) or now
        rounding_s = each_s / 2  # sums of floats; a key that keeps to the rate is never refused
        if not now <= full_at <= now + self._seconds + rounding_s:  # it is full, or the clock was set back
            full_at = now
        full_at += amount * each_s
        late = full_at - now - self._seconds
        if late > rounding_s:
            if key in recent:
                return late
            full_at -= amount * each_s  # the bucket is kept: a key that is refused is not forgotten
        else:
            late = 0.0
        if len(recent) >= MAX_KEYS and key not in recent:
            self._older, self._recent = recent, {}
            recent = self._recent
        recent[key] = full_at
        return late

    def give_back(self, key: str, now: float, amount: int = 1) -> None:
        """Undoes a `take` of this moment that has succeeded."""
        each_s = self._each_s
        if not each_s:
            return
        full_at = self._recent[key] - amount * each_s
        if full_at > now:
            self._recent[key] = full_at
        else:  # it is full
            del self._recent[key]
            self._older.pop(key, None)

    def _turn(self, now: float) -> None:
        """Begins a generation: every bucket that was last used before the previous turn is full by now."""
        self._older = self._recent if now < self._turns_at + self._seconds else {}
        self._recent = {}
        self._turns_at = now + self._seconds
