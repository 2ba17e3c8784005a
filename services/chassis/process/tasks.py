"""Tasks that a process cannot do without: when one of them fails, the process says so and leaves in good order."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Coroutine, Iterable
from typing import Any, Final

log = logging.getLogger(__name__)

_ASK_AGAIN_S: Final = 0.5
_GIVE_UP_S: Final = 3.0


def vital(work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    """Runs `work` as a task. If it ends with an exception the process gets SIGTERM: a service that limps is worse."""
    task = asyncio.get_running_loop().create_task(work)
    task.add_done_callback(_check)
    return task


def _check(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.critical("a vital part failed, the process stops", exc_info=error)
        signal.raise_signal(signal.SIGTERM)


async def end(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancels `tasks` and waits for them, at most 3 s: none may hold up the end of the process.

    A cancellation can be lost (`asyncio.wait_for` of Python 3.11 drops one that meets the result, and libraries use
    it), so a task that goes on is asked again.
    """
    loop = asyncio.get_running_loop()
    give_up_at = loop.time() + _GIVE_UP_S
    left = {task for task in tasks if not task.done()}
    while left and loop.time() < give_up_at:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=_ASK_AGAIN_S)
    for task in left:
        log.error("a task does not end and is left behind: %s", task.get_name())
