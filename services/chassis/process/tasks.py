"""Tasks of a process: vital tasks, the tasks of one owner, and how they end."""

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

_failed: Final[list[BaseException]] = []  # what ended vital tasks of this process


def vital(work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    """Runs `work` as a task that the process cannot do without: if it fails, the process gets SIGTERM.

    A process that lacks a part is worse than one that ends in order and is started again. The process ends with
    `exit_code`.
    """
    task = asyncio.get_running_loop().create_task(work)
    task.add_done_callback(_check)
    return task


def exit_code() -> int:
    """1 if a vital task of this process has failed, else 0, so that a supervisor can tell the two ends apart."""
    return 1 if _failed else 0


def _check(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.critical("a vital task failed, the process stops", exc_info=error)
        _failed.append(error)
        signal.raise_signal(signal.SIGTERM)


async def end(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancels `tasks` and waits for them, at most 3 s: no task may hold up the end of the process.

    A cancellation can be lost (`asyncio.wait_for` of Python 3.11 drops one that coincides with the result, and
    libraries use it), so a task that keeps running is cancelled again.
    """
    loop = asyncio.get_running_loop()
    give_up_at = loop.time() + _GIVE_UP_S
    left = {task for task in tasks if not task.done()}
    while left and loop.time() < give_up_at:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=_ASK_AGAIN_S)
    for task in left:
        log.error("a task ignores its cancellation and is abandoned: %s", task.get_name())


class Tasks:
    """The running tasks of one owner, which ends them together.

    The event loop has only weak references to tasks: a task without another one may vanish during its work.
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
        """Returns when all tasks are done, or after `timeout_s` seconds; the others keep running."""
        if self._running:
            await asyncio.wait(self._running, timeout=max(0.0, timeout_s))

    def cancel(self) -> None:
        """Cancels all tasks, without waiting for them to end."""
        for task in self._running:
            task.cancel()

    async def stop(self) -> None:
        """Cancels all tasks and waits for them to end, as `end` does."""
        await end(tuple(self._running))
