"""A client process of the fleet: runs one `Generator` and talks with its parent over a pipe.

Parent to worker: `Begin`, then `Take`, `Deafen`, `BeginTalk` in any order, and `Finish`. Worker to parent: `Ready`,
then a `Progress` a few times a second, a `Heard` for each `Take`, and a `Tally` as the last word. A parent that is gone
ends the worker.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
from dataclasses import replace
from multiprocessing.connection import Connection

from perf import child
from perf.generator import Generator
from perf.plan import Plan
from perf.words import Begin, BeginTalk, Deafen, Finish, Ready, Take

PROGRESS_INTERVAL_S = 0.2


def main(plan: Plan, pipe: Connection[object, object]) -> None:
    child.run(_work, plan, pipe)


async def _work(plan: Plan, pipe: Connection[object, object]) -> None:
    generator = Generator(plan)
    gc.freeze()  # the prepared frames live to the end of the run; a collection that walks them is a stall of our own
    child.say(pipe, Ready())
    begin = await child.next_order(pipe)
    assert isinstance(begin, Begin)
    generator.begin(begin.start)
    telling = asyncio.create_task(_tell(generator, pipe))
    try:
        while not isinstance(order := await child.next_order(pipe), Finish):
            _obey(order, generator, pipe)
    finally:
        telling.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await telling
    tally = await generator.finish()
    os.set_blocking(pipe.fileno(), True)  # uvloop's reader has made it non-blocking, and a tally may be large
    child.say(pipe, tally)


def _obey(order: object, generator: Generator, pipe: Connection[object, object]) -> None:
    if isinstance(order, Take):
        heard = generator.take()
        child.say(pipe, replace(generator.progress))  # so that the parent's counts are those of the very moment
        child.say(pipe, heard)
    elif isinstance(order, Deafen):
        generator.deafen(order.below)
    elif isinstance(order, BeginTalk):
        generator.talk(order.start)


async def _tell(generator: Generator, pipe: Connection[object, object]) -> None:
    while True:
        child.say(pipe, replace(generator.progress))
        await asyncio.sleep(PROGRESS_INTERVAL_S)
