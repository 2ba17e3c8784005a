"""The client processes of a run: started together, watched, and their results merged."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from perf.load import delivery_counter, tally, worker
from perf.load.child_process import ChildDied, ChildGroup
from perf.load.delivery_counter import Deliveries
from perf.load.plan import Plan
from perf.load.tally import Progress, Tally
from perf.load.worker_messages import Begin, BeginPublishing, ComeBack, Finish, StopReading, Take

ANSWER_WITHIN_S = 30.0
CLOSES_PER_S = 2_000
"""Closing handshakes per second: fewer than a machine with few cores can do."""

LEAD_S = 0.3
"""The time between the message to begin and the first connection: longer than the message takes to reach every
process."""


@dataclass(slots=True)
class _Worker:
    progress: Progress = field(default_factory=Progress)
    deliveries: Deliveries | None = None
    tally: Tally | None = None


class Fleet(ChildGroup[Plan]):
    """`async with Fleet(plan, 2) as fleet:` then `begin()`, `until(...)` as often as needed, `finish()`.

    `plan.schedule` is the schedule of the whole run; each process takes every n-th event. `on_progress` is called with
    each change. Leaving the block ends the processes, whatever happened.
    """

    def __init__(self, plan: Plan, processes: int, on_progress: Callable[[Progress], None] = lambda _: None) -> None:
        super().__init__(worker.main, [_share(plan, number, processes) for number in range(processes)], "perf-clients")
        self._plan = plan
        self.processes = processes
        self._on_progress = on_progress
        self._workers = [_Worker() for _ in range(processes)]
        self.started_at = 0.0

    @property
    def progress(self) -> Progress:
        """The progress of the whole fleet, at most a fraction of a second old."""
        return sum((one.progress for one in self._workers), Progress())

    @property
    def settled(self) -> bool:
        """Whether every connection of the run was established or has failed."""
        return self.progress.settled >= self._plan.schedule.count

    def begin(self) -> float:
        """Starts the schedule. Returns the time at which it begins, of `time.monotonic`."""
        self.started_at = time.monotonic() + LEAD_S
        self.send(Begin(self.started_at))
        return self.started_at

    def begin_publishing(self) -> float:
        """Lets the clients publish as planned. Returns the time at which that schedule begins."""
        start = time.monotonic() + LEAD_S
        self.send(BeginPublishing(start))
        return start

    def stop_reading(self, below: int) -> None:
        """Clients with numbers below `below` stop reading."""
        self.send(StopReading(below))

    def come_back(self) -> None:
        """Lost clients reconnect all together, if the plan makes them wait for this call."""
        self.send(ComeBack())

    async def take(self) -> Deliveries:
        """What all clients received since the last take. Raises `ChildDied`."""
        for one in self._workers:
            one.deliveries = None
        self.send(Take())
        if not await self.until(lambda: all(one.deliveries for one in self._workers), ANSWER_WITHIN_S):
            raise ChildDied(f"a client process did not answer within {ANSWER_WITHIN_S:.0f} s")
        return delivery_counter.total(one.deliveries for one in self._workers if one.deliveries)

    async def finish(self) -> Tally:
        """Disconnects all clients and returns the result of the run. Raises `ChildDied`."""
        self.send(Finish())
        within_s = ANSWER_WITHIN_S + self._plan.schedule.count / CLOSES_PER_S
        if not await self.until(lambda: all(one.tally for one in self._workers), within_s):
            raise ChildDied(f"a client process did not finish within {within_s:.0f} s")
        return tally.merge(one.tally for one in self._workers if one.tally)

    def received(self, number: int, message: object) -> None:
        one = self._workers[number]
        if isinstance(message, Progress):
            one.progress = message
            self._on_progress(self.progress)
        elif isinstance(message, Deliveries):
            one.deliveries = message
        elif isinstance(message, Tally):
            one.tally, one.progress = message, message.progress

    def is_done(self, number: int) -> bool:
        return self._workers[number].tally is not None


def _share(plan: Plan, number: int, processes: int) -> Plan:
    """The part of process `number` in the whole plan."""
    publishing = plan.client_publishing
    if publishing is not None:
        publishing = replace(publishing, schedule=replace(publishing.schedule, first=number, step=processes))
    schedule = replace(plan.schedule, first=number, step=processes)
    return replace(plan, schedule=schedule, client_publishing=publishing)
