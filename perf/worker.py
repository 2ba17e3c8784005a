"""A client process of the fleet: runs one `Generator` and talks with its parent over a pipe.

Parent to worker: `Begin`, `Finish`. Worker to parent: `Ready`, then a `Progress` a few times a second, and a `Tally`
as the last word. A parent that is gone ends the worker.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection

import uvloop

from perf.generator import Generator, Plan

PROGRESS_INTERVAL_S = 0.2


@dataclass(frozen=True, slots=True)
class Ready:
    """Tokens and frames are built; the schedule may start."""


@dataclass(frozen=True, slots=True)
class Begin:
    start: float  # time.monotonic() at which the first connection of the run is due


@dataclass(frozen=True, slots=True)
class Finish:
    pass


def main(plan: Plan, pipe: Connection[object, object]) -> None:
    """The whole life of the process. Ctrl-C reaches it too, but it is the parent that decides what that means."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(EOFError, BrokenPipeError):
        uvloop.run(_work(plan, pipe))


async def _work(plan: Plan, pipe: Connection[object, object]) -> None:
    generator = Generator(plan)
    gc.freeze()  # the prepared frames live to the end of the run; a collection that walks them is a stall of our own
    pipe.send(Ready())
    begin = await _next(pipe)
    assert isinstance(begin, Begin)
    generator.begin(begin.start)
    telling = asyncio.create_task(_tell(generator, pipe))
    try:
        await _next(pipe)
    finally:
        telling.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await telling
    pipe.send(await generator.finish())


async def _tell(generator: Generator, pipe: Connection[object, object]) -> None:
    while True:
        pipe.send(replace(generator.tally.progress))
        await asyncio.sleep(PROGRESS_INTERVAL_S)


async def _next(pipe: Connection[object, object]) -> object:
    """The parent's next word. Raises EOFError when there is no parent any more."""
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    loop.add_reader(pipe.fileno(), readable.set)
    try:
        await readable.wait()
    finally:
        loop.remove_reader(pipe.fileno())
    return pipe.recv()
