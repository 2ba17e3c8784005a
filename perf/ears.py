"""What the clients of one process hear: application messages counted, their age sampled, their order followed.

Counting must cost next to nothing, or a few processes could not take what one edge delivers: bytes are searched for the
marker, nothing is decoded.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol

from perf.payload import MARKER, stamps

MAX_SAMPLES = 500_000
"""Ages that one process keeps between two takes; past it messages are counted and not sampled."""


TAIL_BYTES = 256


@dataclass(slots=True)
class Heard:
    """`ages_s` count from when a publication was due to when its bytes were read here: open loop, nothing is left out.

    `gaps` are publications that a client never got before a later one, `repeats` those that it got again or late.
    """

    messages: int = 0
    ages_s: list[float] = field(default_factory=list)
    gaps: int = 0
    repeats: int = 0
    pings: int = 0
    last_at: float = 0.0  # time.monotonic() of the last message; only with ages
    cpu_s: float = 0.0  # what this process used meanwhile

    def add(self, other: Heard) -> None:
        self.messages += other.messages
        self.ages_s.extend(other.ages_s)
        self.gaps += other.gaps
        self.repeats += other.repeats
        self.pings += other.pings
        self.last_at = max(self.last_at, other.last_at)
        self.cpu_s += other.cpu_s


def together(all_heard: Iterable[Heard]) -> Heard:
    whole = Heard()
    for heard in all_heard:
        whole.add(heard)
    return whole


class Follower(Protocol):
    """A client as far as the ears know it: the number of the publication that it expects next, and the end of the bytes
    that held the last one."""

    next_number: int
    last: bytes


class Ears:
    """Shared by all clients of a process. `every`: one age is taken of so many messages, 0 takes none.

    `ordered` follows the numbers of each client's one channel from 0 on.
    """

    def __init__(self, every: int = 1, ordered: bool = False) -> None:
        self._every = every
        self._until_sample = 1
        self.ordered = ordered
        self._frame_size, self._frame_messages = 1, 1  # of no frame there is
        self.heard = Heard()
        self._used = time.process_time()

    def take(self) -> Heard:
        """What was heard since the last take."""
        heard, self.heard = self.heard, Heard()
        used = time.process_time()
        heard.cpu_s, self._used = used - self._used, used
        return heard

    def all_alike(self, client: Follower, data: bytes) -> bool:
        """Hears `data` when it is nothing but whole frames like the last one: of its size, with as many messages each.

        Under load that is nearly every read, and spares looking at each frame. Anything else is left to the caller.
        """
        frames, rest = divmod(len(data), self._frame_size)
        count = frames * self._frame_messages
        if rest or data.count(MARKER) != count:
            return False
        self._hear(client, data, count)
        return True

    def hear(self, client: Follower, data: bytes, frame_size: int = 0) -> None:
        """Counts what is in `data`: the payload of a frame whose size on the wire is given, or a part of one."""
        count = data.count(MARKER)
        if not count:
            return
        if frame_size:
            self._frame_size, self._frame_messages = frame_size, count
        self._hear(client, data, count)

    def _hear(self, client: Follower, data: bytes, count: int) -> None:
        self.heard.messages += count
        if self.ordered:
            self._follow(client, data)
        if self._every:
            self._until_sample -= count
            if self._until_sample <= 0:
                self._sample(data, count)

    def _sample(self, data: bytes, count: int) -> None:
        heard, now = self.heard, time.monotonic_ns()
        heard.last_at = now / 1e9
        place = self._until_sample + count  # of the first message to sample, counted from 1
        for number, (due_ns, _) in enumerate(stamps(data), 1):
            if number == place:
                place += self._every
                if len(heard.ages_s) < MAX_SAMPLES:
                    heard.ages_s.append((now - due_ns) / 1e9)
        self._until_sample = place - count

    def _follow(self, client: Follower, data: bytes) -> None:
        client.last = data[-TAIL_BYTES:]
        for _, number in stamps(data):
            if number < client.next_number:
                self.heard.repeats += 1
            else:
                self.heard.gaps += number - client.next_number
                client.next_number = number + 1
