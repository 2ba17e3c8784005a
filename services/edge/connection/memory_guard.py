"""How much memory an edge may use, and which clients it closes when it uses more. Pure: a sample in, a verdict out.

Above the soft limit, the edge is not ready for new clients while another edge has room; its own clients stay. Above the
hard limit, it also refuses new clients, and closes clients until it is below: slow ones first.

The memory of a closed client becomes free later: its socket may take two seconds to close, and a channel that only this
client used stays open for a while. So what was let go counts as free until memory has fallen by as much, for `SETTLE_S`
at most. If memory has hardly fallen by then, what waits for clients is mostly shared (the subscribers of a channel
share its frames), and counts for less. If that does not help either, no more clients are closed unless memory grows.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Generic, NamedTuple, TypeVar

SOFT_SHARE: Final = 0.70
HARD_SHARE: Final = 0.85
"""Shares of the memory that the process may use; the rest is for what is not counted, such as the kernel's buffers."""

HYSTERESIS: Final = 0.05
"""How far memory has to fall below a limit, as a share of it, until the limit no longer applies."""

SHED_PER_S: Final = 500
"""The most clients that are closed in a second, so that other edges are not flooded: half the rate of a drain."""

SETTLE_S: Final = 20.0
"""Longer than a channel stays open without users."""

GROWTH: Final = 0.01
"""Memory has grown if it is larger than before by more than this share."""
HELPS: Final = 0.25
"""Closing clients helps if memory falls by at least this share of what they took."""
LEAST_OWN: Final = 1 / 64


class MemoryLimits(NamedTuple):
    """In bytes; 0: no limit."""

    soft: int
    hard: int

    @property
    def least(self) -> int:
        """The limit that memory reaches first."""
        return self.soft or self.hard


def limits(soft: int | None, hard: int | None, available: int) -> MemoryLimits:
    """The limits as they are configured; None: a share of `available`, which is what the process may use.

    The soft one is never above the hard one.
    """
    if hard is None:
        hard = max(int(available * HARD_SHARE), soft or 0)
    if soft is None:
        soft = int(available * SOFT_SHARE)
        soft = min(soft, int(hard * SOFT_SHARE / HARD_SHARE)) if hard else soft
    return MemoryLimits(soft, hard)


class Verdict(NamedTuple):
    """Whether the edge is above its soft and its hard limit, and how many bytes it should free by closing clients."""

    above_soft: bool
    above_hard: bool
    excess: int = 0


@dataclass(slots=True)
class _LetGo:
    at: float
    size: int
    used: int  # before
    to_fall: int  # the part of `size` by which memory has not fallen yet


class MemoryGuard:
    """Judges one sample after another. `own_share`: the share of what waits for a client that closing it frees."""

    def __init__(self, limits: MemoryLimits) -> None:
        self.limits = limits
        self.own_share = 1.0
        self.above_soft = False
        self.above_hard = False
        self._let_go: deque[_LetGo] = deque()
        self._stuck_at = 0
        self._low = 0  # the least memory in use since clients were let go that may not have freed theirs

    @property
    def stuck(self) -> bool:
        """Whether memory is above the hard limit, and does not fall when clients are closed."""
        return self._stuck_at > 0

    def judge(self, used: int, now: float) -> Verdict:
        """What to do at `now`, in seconds of any clock, with `used` bytes in use."""
        self.above_soft = _is_above(used, self.limits.soft, self.above_soft)
        self.above_hard = _is_above(used, self.limits.hard, self.above_hard)
        if not self.above_hard:
            self._let_go.clear()
            self._stuck_at = 0
            self.own_share = 1.0
            return Verdict(self.above_soft, False)
        self._take_off_what_fell(used)
        while self._let_go and now >= self._let_go[0].at + SETTLE_S:
            self._settle(self._let_go.popleft(), used)
        if self._stuck_at and used <= self._stuck_at * (1 + GROWTH):
            return Verdict(self.above_soft, True)
        self._stuck_at = 0
        expected = used - sum(each.to_fall for each in self._let_go)
        return Verdict(self.above_soft, True, max(0, expected - self.limits.hard))

    def is_short(self, used: int) -> bool:
        """Whether so many bytes are above a limit."""
        return 0 < self.limits.soft < used or 0 < self.limits.hard < used

    def settles(self, now: float) -> bool:
        """Whether the next sample should show by how much memory fell after clients were let go."""
        return bool(self._let_go) and now >= self._let_go[0].at + SETTLE_S

    def let_go(self, size: int, used: int, now: float) -> None:
        """Notes that clients with `size` bytes are being closed, while `used` bytes are in use."""
        if not self._let_go or used > self._low * (1 + GROWTH):
            self._low = used
        self._let_go.append(_LetGo(now, size, used, size))

    def _take_off_what_fell(self, used: int) -> None:
        """Credits a fall of memory once, to the clients that were let go first: memory may go up and down by itself."""
        fallen = max(0, self._low - used)
        self._low -= fallen
        while self._let_go and fallen:
            first = self._let_go[0]
            seen = min(fallen, first.to_fall)
            first.to_fall, fallen = first.to_fall - seen, fallen - seen
            if not first.to_fall:
                self._let_go.popleft()

    def _settle(self, earlier: _LetGo, used: int) -> None:
        fallen = earlier.used - used
        if max(fallen, earlier.size - earlier.to_fall) >= HELPS * earlier.size:
            return
        if self.own_share > LEAST_OWN:
            self.own_share = max(LEAST_OWN, self.own_share / 4)
        elif fallen >= -GROWTH * earlier.used:
            self._stuck_at = used


def _is_above(used: int, limit: int, before: bool) -> bool:
    return limit > 0 and used > (limit * (1 - HYSTERESIS) if before else limit)


T = TypeVar("T")


class Weighed(NamedTuple, Generic[T]):
    """A client, whether it is slow, and about how many bytes closing it frees."""

    client: T
    slow: bool
    size: int


def order(weighed: Weighed[T]) -> tuple[bool, int]:
    """The key by which clients are sorted: those with the largest are closed first."""
    return weighed.slow, weighed.size


def whom_to_close(heaviest: Iterable[Weighed[T]], of_all: int, excess: int) -> list[Weighed[T]]:
    """As few clients as free `excess` bytes, at most `SHED_PER_S`: slow ones first, and of each kind the largest.

    If not even closing all clients would suffice (together they take `of_all`), it is not clients that take the memory:
    then only slow ones are closed.
    """
    chosen: list[Weighed[T]] = []
    for weighed in sorted(heaviest, key=order, reverse=True):
        if excess <= 0 or len(chosen) == SHED_PER_S or (of_all < excess and not weighed.slow):
            break
        chosen.append(weighed)
        excess, of_all = excess - weighed.size, of_all - weighed.size
    return chosen
