"""The client processes of a run: started together, watched, and their results made one."""

from __future__ import annotations

import asyncio
import multiprocessing
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from types import TracebackType

from perf.generator import Plan
from perf.tally import Progress, Tally, merge
from perf.worker import Begin, Finish, Ready, main

READY_WITHIN_S = 60.0
FINISH_WITHIN_S = 30.0
LEAD_S = 0.3
"""Between the word to begin and the first connection: longer than it takes that word to reach every process."""


class WorkerDied(Exception):
    """A client process ended without its figures; the run measured nothing that can be reported."""


@dataclass(slots=True)
class _Worker:
    process: SpawnProcess
    pipe: Connection[object, object]
    progress: Progress
    ready: bool = False
    tally: Tally | None = None


class Fleet:
    """`async with Fleet(plan, 2) as fleet:` then `begin()`, `until(...)` as often as needed, `finish()`.

    `plan.schedule` is that of the whole run; each process takes every n-th of it. `on_progress` hears of each change.
    Leaving the block ends the processes, whatever happened.
    """

    def __init__(self, plan: Plan, processes: int, on_progress: Callable[[Progress], None] = lambda _: None) -> None:
        self._plan = plan
        self._count = processes
        self._on_progress = on_progress
        self._workers: list[_Worker] = []
        self._changed = asyncio.Event()
        self._died: str | None = None
        self.started_at = 0.0

    async def __aenter__(self) -> Fleet:
        context = multiprocessing.get_context("spawn")  # a fork would share this process's loop and signal handlers
        for number in range(self._count):
            ours, theirs = context.Pipe()
            plan = replace(self._plan, schedule=replace(self._plan.schedule, first=number, step=self._count))
            process = context.Process(target=main, args=(plan, theirs), name=f"perf-clients-{number}", daemon=True)
            process.start()
            theirs.close()
            worker = _Worker(process, ours, Progress())
            self._workers.append(worker)
            asyncio.get_running_loop().add_reader(ours.fileno(), self._hear, worker)
        try:
            if not await self._wait(lambda: all(worker.ready for worker in self._workers), READY_WITHIN_S):
                raise WorkerDied(f"the client processes were not ready within {READY_WITHIN_S:.0f} s")
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
        for worker in self._workers:
            worker.pipe.send(Begin(self.started_at))
        return self.started_at

    async def until(self, check: Callable[[], bool], within_s: float) -> bool:
        """Waits until `check()` holds; False when it does not within the time. Raises `WorkerDied`."""
        return await self._wait(check, within_s)

    async def finish(self) -> Tally:
        """Lets all clients go and gives the result of the run. Raises `WorkerDied`."""
        for worker in self._workers:
            worker.pipe.send(Finish())
        if not await self._wait(lambda: all(worker.tally for worker in self._workers), FINISH_WITHIN_S):
            raise WorkerDied(f"a client process did not finish within {FINISH_WITHIN_S:.0f} s")
        return merge(worker.tally for worker in self._workers if worker.tally)

    async def _wait(self, check: Callable[[], bool], within_s: float) -> bool:
        try:
            async with asyncio.timeout(within_s):
                while not check():
                    if self._died is not None:
                        raise WorkerDied(self._died)
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            return check()
        return True

    def _hear(self, worker: _Worker) -> None:
        try:
            word = worker.pipe.recv()
        except (EOFError, ConnectionResetError):
            asyncio.get_running_loop().remove_reader(worker.pipe.fileno())
            if worker.tally is None:
                worker.process.join(1.0)
                self._died = (
                    f"{worker.process.name} ended with exit code {worker.process.exitcode}, its figures are lost"
                )
            self._changed.set()
            return
        if isinstance(word, Ready):
            worker.ready = True
        elif isinstance(word, Progress):
            worker.progress = word
            self._on_progress(self.progress)
        elif isinstance(word, Tally):
            worker.tally, worker.progress = word, word.progress
        self._changed.set()

    def _end(self) -> None:
        for worker in self._workers:
            asyncio.get_running_loop().remove_reader(worker.pipe.fileno())
            worker.pipe.close()  # a worker that still runs ends on it
        for worker in self._workers:
            worker.process.join(2.0)
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
            worker.process.close()
