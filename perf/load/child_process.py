"""Child processes of perf, and the pipe to each: parent and child send each other plain objects.

A child's `main` gets its task and its end of the pipe. A child ends when its parent is gone, because its pipe does.
"""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import os
import signal
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

import uvloop

from perf.errors import RunFailed
from perf.load.worker_messages import Ready

Task = TypeVar("Task")
Main = Callable[[Task, "Connection[object, object]"], None]

# A fork of this process would share its loop and signal handlers. The children are forks of a process that does nothing
# else and has loaded what they need: a run starts dozens of them, and loading takes a third of a second.
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["perf.load.worker", "perf.load.publisher_process"])

READY_WITHIN_S = 60.0
END_WITHIN_S = 2.0


class ChildDied(RunFailed):
    """A process of perf ended, or did not answer, before it had delivered its figures."""


class ChildProcess(Generic[Task]):
    """Started at once. `on_message` is called on the running loop with each message of the child.

    `on_death` is called once, with the reason, when the child ends before `close`.
    """

    def __init__(
        self,
        main: Main[Task],
        task: Task,
        name: str,
        on_message: Callable[[object], None],
        on_death: Callable[[str], None],
    ) -> None:
        self._pipe, theirs = _CONTEXT.Pipe()
        self._process = _CONTEXT.Process(target=main, args=(task, theirs), name=name, daemon=True)
        self._process.start()
        theirs.close()
        self._on_message, self._on_death = on_message, on_death
        asyncio.get_running_loop().add_reader(self._pipe.fileno(), self._read)

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    def send(self, message: object) -> None:
        """Does nothing for a child that is gone: `on_death` reports that."""
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self._pipe.send(message)

    def close(self) -> None:
        """Closes the pipe, after which the child ends by itself."""
        asyncio.get_running_loop().remove_reader(self._pipe.fileno())
        self._pipe.close()

    def end(self) -> None:
        """Call it after `close`: waits until the process ends, and kills it if it does not."""
        self._process.join(END_WITHIN_S)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self._process.close()

    def _read(self) -> None:
        try:
            message = self._pipe.recv()
        except (EOFError, OSError):  # OSError: it died in the middle of a message
            asyncio.get_running_loop().remove_reader(self._pipe.fileno())
            self._process.join(1.0)
            self._on_death(f"{self._process.name} ended with exit code {self._process.exitcode}, its figures are lost")
            return
        self._on_message(message)


class ChildGroup(Generic[Task]):
    """Child processes with the same `main`, one for each task.

    `async with` starts them, waits for the `Ready` of each, and ends them, whatever happened. A subclass says what a
    message means (`received`). Raises `ChildDied`.
    """

    def __init__(self, main: Main[Task], tasks: Sequence[Task], name: str) -> None:
        self._main, self._tasks, self._name = main, tasks, name
        self._children: list[ChildProcess[Task]] = []
        self._ready: set[int] = set()
        self._changed = asyncio.Event()
        self._death: str | None = None

    async def __aenter__(self) -> Self:
        for number, task in enumerate(self._tasks):
            name = f"{self._name}-{number}" if len(self._tasks) > 1 else self._name
            on_message, on_death = partial(self._on_message, number), partial(self._on_death, number)
            self._children.append(ChildProcess(self._main, task, name, on_message, on_death))
        try:
            if not await self.until(lambda: len(self._ready) == len(self._tasks), READY_WITHIN_S):
                raise ChildDied(f"{self._name} was not ready within {READY_WITHIN_S:.0f} s")
        except BaseException:
            self._end()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    @property
    def pids(self) -> list[int]:
        return [child.pid for child in self._children]

    def send(self, message: object) -> None:
        """Sends a message to every child."""
        for child in self._children:
            child.send(message)

    async def until(self, check: Callable[[], bool], within_s: float) -> bool:
        """Waits until `check()` holds; returns False if it does not hold within the time. Raises `ChildDied`.

        `check` is called after each message.
        """
        try:
            async with asyncio.timeout(within_s):
                while not check():
                    if self._death is not None:
                        raise ChildDied(self._death)
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            return check()
        return True

    def received(self, number: int, message: object) -> None:
        """Called with each message of child `number` except `Ready`."""
        raise NotImplementedError

    def is_done(self, number: int) -> bool:
        """True if child `number` has given all its figures, so that its end is no failure."""
        return False

    def _on_message(self, number: int, message: object) -> None:
        if isinstance(message, Ready):
            self._ready.add(number)
        else:
            self.received(number, message)
        self._changed.set()

    def _on_death(self, number: int, reason: str) -> None:
        if not self.is_done(number):
            self._death = reason
            self._changed.set()

    def _end(self) -> None:
        for child in self._children:
            child.close()
        for child in self._children:
            child.end()


def run(
    work: Callable[[Task, Connection[object, object]], Coroutine[Any, Any, None]],
    task: Task,
    pipe: Connection[object, object],
) -> None:
    """Runs the child, from beginning to end. Ctrl-C reaches it too, but the parent decides what that means."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(EOFError, BrokenPipeError):
        uvloop.run(work(task, pipe))


def send(pipe: Connection[object, object], message: object) -> None:
    """In the child: sends a message of any length to the parent. uvloop's readers leave the pipe non-blocking."""
    os.set_blocking(pipe.fileno(), True)
    pipe.send(message)


async def receive(pipe: Connection[object, object]) -> object:
    """In the child: the parent's next message. Raises EOFError when there is no parent any more."""
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    loop.add_reader(pipe.fileno(), readable.set)
    try:
        await readable.wait()
    finally:
        loop.remove_reader(pipe.fileno())
    return pipe.recv()
