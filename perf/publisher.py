"""A backend that publishes: on schedule (open loop), or as fast as it is answered. In a process of its own.

Its figures say how late it was itself; the age of a publication counts from when it was due, so a publisher that waits
for its turn hides nothing.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import cast

from perf import failures
from perf.pacing import Pacer, Schedule
from perf.payload import SMALLEST, payload
from perf.ways import Way

MAX_BURST = 64
MAX_SAMPLES = 200_000
STATUS_AT = slice(9, 12)  # "HTTP/1.1 200 OK"


@dataclass(frozen=True, slots=True)
class Publishing:
    """`channels` take turns; each counts its publications from 0.

    With `schedule` open loop. Without one as many as fit into `seconds`, with `window` of them unanswered at any time:
    a system at its limit, whose ages mean nothing.
    """

    way: Way
    channels: Sequence[str]
    schedule: Schedule | None = None
    seconds: float = 0.0
    window: int = 1
    connections: int = 4  # with a schedule; publications that find all of them busy wait their turn
    size: int = 128

    def __post_init__(self) -> None:
        if self.size < SMALLEST:
            raise ValueError(f"a payload has at least {SMALLEST} bytes")
        if self.schedule is None and not self.way.answered:
            raise ValueError("a way that is not answered has a schedule: nothing else would hold it back")
        if not self.channels:
            raise ValueError("expected a channel to publish into")


@dataclass(slots=True)
class Published:
    """`accepted` were answered well, or sent where nothing is answered. `lateness_s` is how late each was handed over:
    more than a few milliseconds mean a publisher that is starved, or a system that answers slower than it is asked."""

    due: int = 0
    accepted: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    lateness_s: list[float] = field(default_factory=list)
    answer_s: list[float] = field(default_factory=list)
    began_at: float = 0.0  # time.monotonic()
    ended_at: float = 0.0
    cpu_s: float = 0.0


class Line(asyncio.Protocol):
    """One connection of the backend."""

    def __init__(self, owner: Publisher, way: Way) -> None:
        self._owner = owner
        self._way = way
        self._buffer = b""
        self._sent_at = 0.0
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.write(self._way.greeting)

    def send(self, data: bytes) -> None:
        self._sent_at = time.monotonic()
        if self.transport is not None:
            self.transport.write(data)

    def data_received(self, data: bytes) -> None:
        if not self._way.answered:
            if (reply := self._way.reply(data)) and self.transport is not None:
                self.transport.write(reply)
            return
        self._buffer += data
        head, separator, body = self._buffer.partition(b"\r\n\r\n")
        if not separator or len(body) < _content_length(head):
            return
        self._buffer = b""
        status = head[STATUS_AT].decode(errors="replace")
        took = status.startswith("2") and self._way.took(body)
        self._owner.answered(self, None if took else f"http {status} {body[:80].decode(errors='replace')}".rstrip())
        self._owner.done.answer_s.append(time.monotonic() - self._sent_at)

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        self._owner.lost(self, failures.of_end(exc, "publishing"))


class Publisher:
    """Runs one `Publishing` on the running loop."""

    def __init__(self, publishing: Publishing) -> None:
        self.done = Published()
        self._plan = publishing
        self._free: list[Line] = []
        self._lines: set[Line] = set()
        self._pacer = Pacer(publishing.schedule) if publishing.schedule else None
        self._number = 0
        self._start = 0.0
        self._over = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None

    async def open(self) -> None:
        """Connects. Raises OSError."""
        plan, loop = self._plan, asyncio.get_running_loop()
        for _ in range(plan.connections if plan.schedule else plan.window):
            line = Line(self, plan.way)
            self._lines.add(line)
            self._free.append(line)
        for line in tuple(self._lines):

            def known(line: Line = line) -> Line:  # from before it connects: it may be lost in the same moment
                return line

            await loop.create_connection(known, "127.0.0.1", plan.way.port)

    async def run(self, start: float) -> Published:
        """From `start` (`time.monotonic`) to the answer to the last publication, or until no connection is left."""
        self._start = start
        await asyncio.sleep(max(0.0, start - time.monotonic()))
        self.done.began_at = time.monotonic()
        self._step()
        await self._over.wait()
        self.done.ended_at = time.monotonic()
        self.done.cpu_s = time.process_time()
        return self.done

    def close(self) -> None:
        for line in self._lines:
            if line.transport is not None:
                line.transport.close()

    def answered(self, line: Line, failure: str | None) -> None:
        if failure is None:
            self.done.accepted += 1
        else:
            failures.count(self.done.failures, failure)
        self._free.append(line)
        self._step()

    def lost(self, line: Line, cause: str) -> None:
        self._lines.discard(line)
        if not self._over.is_set():
            failures.count(self.done.failures, cause)
            if line in self._free:
                self._free.remove(line)
            if self._lines:
                self._step()
            else:
                self._over.set()

    # --- inside ---------------------------------------------------------------------------------------------------

    def _step(self) -> None:
        """Sends what is due as far as connections are free, and comes back when more is."""
        if self._pacer is None:
            self._saturate()
            return
        elapsed = time.monotonic() - self._start
        answered = self._plan.way.answered
        for _, due in self._pacer.take(elapsed, min(MAX_BURST, len(self._free)) if answered else MAX_BURST):
            self._send(self._start + due)
        upcoming = self._pacer.next_due
        if upcoming is None:
            self._end_when_answered()
        elif self._free:
            self._step_in(max(0.0, self._start + upcoming - time.monotonic()))

    def _saturate(self) -> None:
        now = time.monotonic()
        if now - self._start >= self._plan.seconds:
            self._end_when_answered()
            return
        while self._free:
            self._send(now)

    def _end_when_answered(self) -> None:
        if len(self._free) == len(self._lines):
            self._over.set()

    def _step_in(self, wait_s: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(wait_s, self._step)

    def _send(self, due: float) -> None:
        plan, done = self._plan, self.done
        channel = plan.channels[self._number % len(plan.channels)]
        data = payload(plan.size, self._number // len(plan.channels), int(due * 1e9))
        self._number += 1
        done.due += 1
        if len(done.lateness_s) < MAX_SAMPLES:
            done.lateness_s.append(time.monotonic() - due)
        line = self._free.pop(0) if plan.way.answered else self._free[0]
        line.send(plan.way.encode(channel, data))
        if not plan.way.answered:
            done.accepted += 1


def _content_length(head: bytes) -> int:
    for field_line in head.split(b"\r\n"):
        name, _, value = field_line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    return 0
