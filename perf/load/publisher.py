"""A backend that publishes: on schedule (open loop), or as fast as it is answered.

It reports its own lateness. The age of a publication counts from when it was due, so waiting for a free connection
hides nothing.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from perf.load import failures
from perf.load.pacing import Pacer, Schedule
from perf.load.payload import SMALLEST, payload
from perf.load.publish_connection import PublishConnection
from perf.load.publish_targets import PublishTarget

MAX_BURST = 64
MAX_SAMPLES = 200_000


@dataclass(frozen=True, slots=True)
class Publishing:
    """`channels` take turns; each counts its publications from `first`.

    With `schedule`: open loop. Without: as many as fit into `seconds`, with `window` of them unanswered at any time;
    the system is then at its limit, and ages mean nothing.
    """

    target: PublishTarget
    channels: Sequence[str]
    schedule: Schedule | None = None
    seconds: float = 0.0
    window: int = 1
    connections: int = 4  # with a schedule; publications that find all of them busy wait their turn
    size: int = 128
    first: int = 0  # the number of the first publication of each channel

    def __post_init__(self) -> None:
        if self.size < SMALLEST:
            raise ValueError(f"a payload has at least {SMALLEST} bytes")
        if self.schedule is None and not self.target.answered:
            raise ValueError("a target that does not answer needs a schedule: nothing else would hold it back")
        if not self.channels:
            raise ValueError("expected a channel to publish into")


@dataclass(slots=True)
class Published:
    """`accepted` were answered with success, or were sent to a target that does not answer.

    `lateness_s` is how late each was sent: more than a few milliseconds mean a publisher without enough CPU, or a
    system that answers more slowly than requests arrive.
    """

    due: int = 0
    accepted: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    lateness_s: list[float] = field(default_factory=list)
    answer_s: list[float] = field(default_factory=list)
    began_at: float = 0.0  # time.monotonic()
    ended_at: float = 0.0
    cpu_s: float = 0.0


class Publisher:
    """Runs one `Publishing` on the running loop."""

    def __init__(self, publishing: Publishing) -> None:
        self.done = Published()
        self._plan = publishing
        self._free: list[PublishConnection] = []
        self._connections: set[PublishConnection] = set()
        self._pacer = Pacer(publishing.schedule) if publishing.schedule else None
        self._number = 0
        self._start = 0.0
        self._over = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None

    async def open(self) -> None:
        """Connects. Raises OSError."""
        plan = self._plan
        for _ in range(plan.connections if plan.schedule else plan.window):
            connection = PublishConnection(plan.target, self._answered, self._lost)
            self._connections.add(connection)  # before it connects: it may be lost at the same moment
            self._free.append(connection)
        for connection in tuple(self._connections):
            await connection.open()

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
        for connection in self._connections:
            connection.close()

    # --- called by the connections --------------------------------------------------------------------------------

    def _answered(self, connection: PublishConnection, failure: str | None, seconds: float) -> None:
        self.done.answer_s.append(seconds)
        if failure is None:
            self.done.accepted += 1
        else:
            failures.count(self.done.failures, failure)
        self._free.append(connection)
        self._step()

    def _lost(self, connection: PublishConnection, cause: str) -> None:
        self._connections.discard(connection)
        if self._over.is_set():
            return
        failures.count(self.done.failures, cause)
        if connection in self._free:
            self._free.remove(connection)
        if self._connections:
            self._step()
        else:
            self._over.set()

    # --- sending --------------------------------------------------------------------------------------------------

    def _step(self) -> None:
        """Sends what is due, as far as connections are free, and sets a timer for the next one that is due later."""
        if self._pacer is None:
            self._saturate()
            return
        elapsed = time.monotonic() - self._start
        answered = self._plan.target.answered
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
        if len(self._free) == len(self._connections):
            self._over.set()

    def _step_in(self, wait_s: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(wait_s, self._step)

    def _send(self, due: float) -> None:
        plan, done = self._plan, self.done
        channel = plan.channels[self._number % len(plan.channels)]
        data = payload(plan.size, plan.first + self._number // len(plan.channels), int(due * 1e9))
        self._number += 1
        done.due += 1
        if len(done.lateness_s) < MAX_SAMPLES:
            done.lateness_s.append(time.monotonic() - due)
        connection = self._free.pop(0) if plan.target.answered else self._free[0]
        connection.publish(channel, data)
        if not plan.target.answered:
            done.accepted += 1
