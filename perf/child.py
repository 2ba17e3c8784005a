"""A process of perf's own, and the pipe to it: what parent and child say to each other are plain objects.

The child's `main` gets its task and its end of the pipe. A parent that is gone ends the child: its pipe does.
"""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import os
import signal
from collections.abc import Callable, Coroutine
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any, Self, TypeVar

import uvloop

from perf.words import Ready

Task = TypeVar("Task")

READY_WITHIN_S = 60.0
END_WITHIN_S = 2.0


class ChildDied(Exception):
    """A process of perf ended without its figures; the run measured nothing that can be reported."""


class Child:
    """Started at once. `heard` is called with each word of it on the running loop, and `died` with a reason once."""

    def __init__(
        self,
        main: Callable[[Task, Connection[object, object]], None],
        task: Task,
        name: str,
        heard: Callable[[object], None],
        died: Callable[[str], None],
    ) -> None:
        context = multiprocessing.get_context("spawn")  # a fork would share this process's loop and signal handlers
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=main, args=(task, theirs), name=name, daemon=True)
        self._process.start()
        theirs.close()
        self._heard, self._died = heard, died
        asyncio.get_running_loop().add_reader(self._pipe.fileno(), self._read)

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    def tell(self, order: object) -> None:
        """Does nothing for one that is gone: its death is told."""
        try:
            self._pipe.send(order)
        except (BrokenPipeError, ConnectionResetError):
            return

    def close(self) -> None:
        """The process ends on it, by itself."""
        asyncio.get_running_loop().remove_reader(self._pipe.fileno())
        self._pipe.close()

    def end(self) -> None:
        """After `close`: waits for the end, and makes one if it does not come."""
        self._process.join(END_WITHIN_S)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self._process.close()

    def _read(self) -> None:
        try:
            word = self._pipe.recv()
        except (EOFError, OSError):  # the latter: it died in the middle of a word
            asyncio.get_running_loop().remove_reader(self._pipe.fileno())
            self._process.join(1.0)
            self._died(f"{self._process.name} ended with exit code {self._process.exitcode}, its figures are lost")
            return
        self._heard(word)


class Waiting:
    """For the parent: waits for what the words of its children change."""

    def __init__(self) -> None:
        self._changed = asyncio.Event()
        self._died: str | None = None

    def changed(self) -> None:
        self._changed.set()

    def died(self, why: str) -> None:
        """A child whose figures are still needed is gone: every wait raises `ChildDied`."""
        self._died = why
        self._changed.set()

    async def until(self, check: Callable[[], bool], within_s: float) -> bool:
        """Waits until `check()` holds; False when it does not within the time. Raises `ChildDied`."""
        try:
            async with asyncio.timeout(within_s):
                while not check():
                    if self._died is not None:
                        raise ChildDied(self._died)
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            return check()
        return True


class Companion:
    """A child that works beside the fleet: `async with` starts it, waits for its `Ready`, and ends it."""

    def __init__(self, main: Callable[[Task, Connection[object, object]], None], task: Task, name: str) -> None:
        self._make: Callable[[], Child] = lambda: Child(main, task, name, self._heard, self.waiting.died)
        self._name = name
        self._child: Child | None = None
        self._ready = False
        self.waiting = Waiting()

    async def __aenter__(self) -> Self:
        self._child = self._make()
        try:
            if not await self.waiting.until(lambda: self._ready, READY_WITHIN_S):
                raise ChildDied(f"{self._name} was not ready within {READY_WITHIN_S:.0f} s")
        except BaseException:
            self._end()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def tell(self, order: object) -> None:
        assert self._child is not None
        self._child.tell(order)

    def hear(self, word: object) -> None:
        """Any word but `Ready`."""
        raise NotImplementedError

    def _heard(self, word: object) -> None:
        if isinstance(word, Ready):
            self._ready = True
        else:
            self.hear(word)
        self.waiting.changed()

    def _end(self) -> None:
        if self._child is not None:
            self._child.close()
            self._child.end()


def run(
    work: Callable[[Task, Connection[object, object]], Coroutine[Any, Any, None]],
    task: Task,
    pipe: Connection[object, object],
) -> None:
    """In the child: its whole life. Ctrl-C reaches it too, but it is the parent that decides what that means."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(EOFError, BrokenPipeError):
        uvloop.run(work(task, pipe))


def say(pipe: Connection[object, object], word: object) -> None:
    """In the child: a word to the parent, however long. uvloop's readers leave the pipe non-blocking."""
    os.set_blocking(pipe.fileno(), True)
    pipe.send(word)


async def next_order(pipe: Connection[object, object]) -> object:
    """In the child: the parent's next word. Raises EOFError when there is no parent any more."""
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    loop.add_reader(pipe.fileno(), readable.set)
    try:
        await readable.wait()
    finally:
        loop.remove_reader(pipe.fileno())
    return pipe.recv()
