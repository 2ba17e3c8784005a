"""Work on a channel that several callers wait for. It is done once, and a caller that is cancelled does not end it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, Generic, TypeVar

from services.chassis.process.tasks import Tasks
from services.edge.broker.broker import BrokerAway

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


async def shared(task: asyncio.Task[str]) -> None:
    """Waits for `task`, whose result is its error, "" if it succeeded. Raises `BrokerAway` if it failed."""
    await asyncio.wait([task])
    failure = "this edge stops" if task.cancelled() else task.result()
    if failure:
        raise BrokerAway(failure)


def retrieved(task: asyncio.Task[Any]) -> None:
    """A callback for a task whose callers may all be cancelled: then nobody else asks for its exception."""
    if not task.cancelled():
        task.exception()


class NextRuns(Generic[K, T]):
    """Work whose result must not be older than the call. Calls that come during a run share the next one."""

    def __init__(self, tasks: Tasks) -> None:
        self._tasks = tasks
        self._running: dict[K, asyncio.Task[T]] = {}
        self._next: dict[K, asyncio.Task[T]] = {}  # runs that have not begun

    async def do(self, key: K, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """The result of a run that began after the call. `work` is the same for all calls with this key."""
        run = self._next.get(key)
        if run is None:
            run = self._next[key] = self._tasks.start(self._run(key, work, self._running.get(key)))
            run.add_done_callback(retrieved)
        await asyncio.wait([run])
        if run.cancelled():
            raise BrokerAway("this edge stops")
        return run.result()

    async def _run(self, key: K, work: Callable[[], Coroutine[Any, Any, T]], before: asyncio.Task[T] | None) -> T:
        if before is not None:
            await asyncio.wait([before])
        me = self._running[key] = self._next.pop(key)
        try:
            return await work()
        finally:
            if self._running.get(key) is me:
                del self._running[key]
