"""Tasks of a process: those that it cannot do without, those that somebody owns, and how all of them end."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Coroutine, Iterable
from typing import Any, Final, TypeVar

log = logging.getLogger(__name__)

_ASK_AGAIN_S: Final = 0.5
_GIVE_UP_S: Final = 3.0

T = TypeVar("T")


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


class Tasks:
    """The tasks that one owner has started and that are not done yet. It ends them together.

    The event loop itself holds tasks weakly: one that nobody else holds may vanish in the middle of its work.
    """

    def __init__(self) -> None:
        self._running: set[asyncio.Task[Any]] = set()

    def __len__(self) -> int:
        return len(self._running)

    def start(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Runs `work` as a task."""
        task = asyncio.get_running_loop().create_task(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task

    async def wait(self, timeout_s: float) -> None:
        """Returns when all are done, or after `timeout_s` seconds, and leaves alone those that are not."""
        if self._running:
            await asyncio.wait(self._running, timeout=max(0.0, timeout_s))

    def cancel(self) -> None:
        """Cancels all, without waiting for their ends."""
        for task in self._running:
            task.cancel()

    async def stop(self) -> None:
        """Cancels all and waits for their ends, as `end` does."""
        await end(tuple(self._running))
