"""The client processes of a run: started together, watched, and their results made one."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from types import TracebackType

from perf.child import Child, ChildDied, Waiting
from perf.ears import Heard, together
from perf.plan import Plan
from perf.tally import Progress, Tally, merge
from perf.words import Begin, BeginTalk, Deafen, Finish, Ready, Take
from perf.worker import main

READY_WITHIN_S = 60.0
FINISH_WITHIN_S = 30.0
GOODBYES_A_SECOND = 2_000
"""Fewer than a machine with few cores manages."""

LEAD_S = 0.3
"""Between the word to begin and the first connection: longer than it takes that word to reach every process."""


@dataclass(slots=True, eq=False)
class _Worker:
    progress: Progress = field(default_factory=Progress)
    ready: bool = False
    heard: Heard | None = None
    tally: Tally | None = None


class Fleet:
    """`async with Fleet(plan, 2) as fleet:` then `begin()`, `until(...)` as often as needed, `finish()`.

    `plan.schedule` is that of the whole run; each process takes every n-th of it. `on_progress` hears of each change.
    Leaving the block ends the processes, whatever happened.
    """

    def __init__(self, plan: Plan, processes: int, on_progress: Callable[[Progress], None] = lambda _: None) -> None:
        self._plan = plan
        self.processes = processes
        self._on_progress = on_progress
        self._workers: list[_Worker] = []
        self._children: list[Child] = []
        self._waiting = Waiting()
        self.started_at = 0.0

    async def __aenter__(self) -> Fleet:
        for number in range(self.processes):
            worker = _Worker()
            self._workers.append(worker)
            hear, died = partial(self._hear, worker), partial(self._lose, worker)
            self._children.append(Child(main, self._share(number), f"perf-clients-{number}", hear, died))
        try:
            if not await self._waiting.until(lambda: all(worker.ready for worker in self._workers), READY_WITHIN_S):
                raise ChildDied(f"the client processes were not ready within {READY_WITHIN_S:.0f} s")
        except BaseException:
            self._end()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    @property
    def progress(self) -> Progress:
        """Of the whole fleet, at most a fraction of a second old."""
        return sum((worker.progress for worker in self._workers), Progress())

    @property
    def settled(self) -> bool:
        """Whether every connection of the run was established or has failed."""
        return self.progress.settled >= self._plan.schedule.count

    def begin(self) -> float:
        """Starts the schedule. The time of its zero, of `time.monotonic`."""
        self.started_at = time.monotonic() + LEAD_S
        self._tell(Begin(self.started_at))
        return self.started_at

    def talk(self) -> float:
        """Lets the clients publish what the plan has for them. The time of the schedule's zero, of `time.monotonic`."""
        start = time.monotonic() + LEAD_S
        self._tell(BeginTalk(start))
        return start

    def deafen(self, below: int) -> None:
        """The clients with numbers below that read nothing any more."""
        self._tell(Deafen(below))

    async def take(self) -> Heard:
        """What all clients heard since the last take. Raises `ChildDied`."""
        for worker in self._workers:
            worker.heard = None
        self._tell(Take())
        if not await self._waiting.until(lambda: all(worker.heard for worker in self._workers), FINISH_WITHIN_S):
            raise ChildDied(f"a client process did not answer within {FINISH_WITHIN_S:.0f} s")
        return together(worker.heard for worker in self._workers if worker.heard)

    async def until(self, check: Callable[[], bool], within_s: float) -> bool:
        """Waits until `check()` holds; False when it does not within the time. Raises `ChildDied`."""
        return await self._waiting.until(check, within_s)

    async def finish(self) -> Tally:
        """Lets all clients go and gives the result of the run. Raises `ChildDied`."""
        self._tell(Finish())
        within_s = FINISH_WITHIN_S + self._plan.schedule.count / GOODBYES_A_SECOND
        if not await self._waiting.until(lambda: all(worker.tally for worker in self._workers), within_s):
            raise ChildDied(f"a client process did not finish within {within_s:.0f} s")
        return merge(worker.tally for worker in self._workers if worker.tally)

    def _share(self, number: int) -> Plan:
        """What process `number` does of the whole plan."""
        plan = self._plan
        talk = plan.talk and replace(plan.talk, schedule=replace(plan.talk.schedule, first=number, step=self.processes))
        return replace(plan, schedule=replace(plan.schedule, first=number, step=self.processes), talk=talk)

    def _tell(self, order: object) -> None:
        for child in self._children:
            child.tell(order)

    def _hear(self, worker: _Worker, word: object) -> None:
        if isinstance(word, Ready):
            worker.ready = True
        elif isinstance(word, Progress):
            worker.progress = word
            self._on_progress(self.progress)
        elif isinstance(word, Heard):
            worker.heard = word
        elif isinstance(word, Tally):
            worker.tally, worker.progress = word, word.progress
        self._waiting.changed()

    def _lose(self, worker: _Worker, why: str) -> None:
        if worker.tally is None:
            self._waiting.died(why)

    def _end(self) -> None:
        for child in self._children:
            child.close()
        for child in self._children:
            child.end()
