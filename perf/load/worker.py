"""A client process of the fleet: runs one `Generator` and exchanges messages with its parent over a pipe.

Parent to worker: `Begin`, then `Take`, `StopReading`, `BeginPublishing` in any order, and `Finish`. Worker to parent:
`Ready`, then a `Progress` a few times a second, a `Deliveries` for each `Take`, and a `Tally` at the end. A worker
whose parent is gone ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
from dataclasses import replace
from multiprocessing.connection import Connection

from perf.load import child_process
from perf.load.generator import Generator
from perf.load.plan import Plan
from perf.load.worker_messages import Begin, BeginPublishing, ComeBack, Finish, Ready, StopReading, Take

PROGRESS_INTERVAL_S = 0.2


def main(plan: Plan, pipe: Connection[object, object]) -> None:
    child_process.run(_work, plan, pipe)


async def _work(plan: Plan, pipe: Connection[object, object]) -> None:
    generator = Generator(plan)
    gc.freeze()  # the prepared frames live until the end of the run: collections need not walk them
    child_process.send(pipe, Ready())
    begin = await child_process.receive(pipe)
    assert isinstance(begin, Begin)
    generator.begin(begin.start)
    progress = asyncio.create_task(_send_progress(generator, pipe))
    try:
        while not isinstance(message := await child_process.receive(pipe), Finish):
            _carry_out(message, generator, pipe)
    finally:
        progress.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await progress
    child_process.send(pipe, await generator.finish())


def _carry_out(message: object, generator: Generator, pipe: Connection[object, object]) -> None:
    match message:
        case Take():
            deliveries = generator.take()
            child_process.send(pipe, replace(generator.progress))  # so that the parent's counts are up to date
            child_process.send(pipe, deliveries)
        case StopReading(below):
            generator.stop_reading(below)
        case ComeBack():
            generator.come_back()
        case BeginPublishing(start):
            generator.begin_publishing(start)
        case _:
            raise AssertionError(f"unknown message {message!r}")


async def _send_progress(generator: Generator, pipe: Connection[object, object]) -> None:
    while True:
        child_process.send(pipe, replace(generator.progress))
        await asyncio.sleep(PROGRESS_INTERVAL_S)
