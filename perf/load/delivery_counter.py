"""Counts what the clients of one process receive: application messages, a sample of their ages, gaps and repeats.

Counting must cost next to nothing, or a few processes could not take what one edge delivers: bytes are searched for the
marker, nothing is decoded.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol

from perf.load.payload import MARKER, stamps

MAX_SAMPLES = 500_000
"""How many ages one process keeps between two takes; further messages are only counted, not sampled."""

TAIL_BYTES = 256


@dataclass(slots=True)
class Deliveries:
    """What was received between two takes.

    `ages_s` are the times from when a publication was due to when its bytes were read here: open loop, so nothing is
    left out. `gaps` are publications that a client did not get before a later one, `repeats` publications that it got
    again or late.
    """

    messages: int = 0
    ages_s: list[float] = field(default_factory=list)
    gaps: int = 0
    repeats: int = 0
    pings: int = 0
    last_at: float = 0.0  # time.monotonic() of the last message; only with ages
    cpu_s: float = 0.0  # the CPU seconds of this process meanwhile

    def add(self, other: Deliveries) -> None:
        self.messages += other.messages
        self.ages_s.extend(other.ages_s)
        self.gaps += other.gaps
        self.repeats += other.repeats
        self.pings += other.pings
        self.last_at = max(self.last_at, other.last_at)
        self.cpu_s += other.cpu_s


def total(parts: Iterable[Deliveries]) -> Deliveries:
    whole = Deliveries()
    for part in parts:
        whole.add(part)
    return whole


class Receiver(Protocol):
    """A client, as the counter sees it."""

    next_number: int  # of the publication that it expects next
    last: bytes  # the end of the bytes that held the newest publication


class DeliveryCounter:
    """Shared by all clients of a process. It takes one age of `every` messages, none if `every` is 0.

    `ordered`: follow the numbers of each client's one channel from 0 on.
    """

    def __init__(self, every: int = 1, ordered: bool = False) -> None:
        self._every = every
        self._until_sample = 1
        self.ordered = ordered
        self._frame_size, self._frame_messages = 1, 1  # fits no frame
        self.deliveries = Deliveries()
        self._cpu_s = time.process_time()

    def take(self) -> Deliveries:
        """What was received since the last take."""
        taken, self.deliveries = self.deliveries, Deliveries()
        now = time.process_time()
        taken.cpu_s, self._cpu_s = now - self._cpu_s, now
        return taken

    def count_like_last(self, client: Receiver, data: bytes) -> bool:
        """Counts `data` if it consists only of whole frames like the last one: with the same size, and as many messages
        each.

        Under load this holds for nearly every read, and saves examining each frame. Returns False if nothing was
        counted.
        """
        frames, rest = divmod(len(data), self._frame_size)
        messages = frames * self._frame_messages
        if rest or data.count(MARKER) != messages:
            return False
        self._count(client, data, messages)
        return True

    def count(self, client: Receiver, data: bytes, frame_size: int = 0) -> None:
        """Counts the messages in `data`: the payload of a frame whose size on the wire is given, or a part of one."""
        messages = data.count(MARKER)
        if not messages:
            return
        if frame_size:
            self._frame_size, self._frame_messages = frame_size, messages
        self._count(client, data, messages)

    def _count(self, client: Receiver, data: bytes, messages: int) -> None:
        self.deliveries.messages += messages
        if self.ordered:
            self._follow(client, data)
        if self._every:
            self._until_sample -= messages
            if self._until_sample <= 0:
                self._sample(data, messages)

    def _sample(self, data: bytes, messages: int) -> None:
        deliveries, now = self.deliveries, time.monotonic_ns()
        deliveries.last_at = now / 1e9
        place = self._until_sample + messages  # of the first message to sample, counted from 1
        for number, (due_ns, _) in enumerate(stamps(data), 1):
            if number == place:
                place += self._every
                if len(deliveries.ages_s) < MAX_SAMPLES:
                    deliveries.ages_s.append((now - due_ns) / 1e9)
        self._until_sample = place - messages

    def _follow(self, client: Receiver, data: bytes) -> None:
        client.last = data[-TAIL_BYTES:]
        for _, number in stamps(data):
            if number < client.next_number:
                self.deliveries.repeats += 1
            else:
                self.deliveries.gaps += number - client.next_number
                client.next_number = number + 1
