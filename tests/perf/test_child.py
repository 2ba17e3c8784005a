"""Processes of perf: whole words however long, a death is told, and nobody is left behind."""

from __future__ import annotations

import os
import signal

import psutil
import pytest

from perf import child
from perf.child import ChildDied, Companion
from perf.words import Take
from tests.perf import children
from tests.support.eventually import eventually


class Echo(Companion):
    def __init__(self, size: int) -> None:
        super().__init__(children.echo, size, "perf-echo")
        self.heard: list[object] = []

    def hear(self, word: object) -> None:
        self.heard.append(word)

    @property
    def pid(self) -> int:
        assert self._child is not None
        return self._child.pid


async def test_a_word_arrives_whole_however_long_it_is() -> None:
    size = 5_000_000  # many times what a pipe holds
    async with Echo(size) as echo:
        for _ in range(2):
            echo.tell(Take())
        assert await echo.waiting.until(lambda: len(echo.heard) == 2, within_s=20)
    assert [len(word) for word in echo.heard if isinstance(word, bytes)] == [size, size]


async def test_a_wait_ends_when_its_time_is_over() -> None:
    async with Echo(1) as echo:
        assert not await echo.waiting.until(lambda: False, within_s=0.01)


async def test_a_death_ends_every_wait() -> None:
    async with Echo(1) as echo:
        os.kill(echo.pid, signal.SIGKILL)
        with pytest.raises(ChildDied, match="perf-echo ended with exit code -9"):
            await echo.waiting.until(lambda: False, within_s=20)


async def test_one_that_never_gets_ready_is_told_too() -> None:
    with pytest.raises(ChildDied, match="exit code 3"):
        async with Companion(children.die, 3, "perf-dead"):
            pass


async def test_leaving_ends_the_process() -> None:
    async with Echo(1) as echo:
        pid = echo.pid
    await eventually(lambda: not psutil.pid_exists(pid))


async def test_even_one_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child, "END_WITHIN_S", 0.1)
    async with Companion(children.hang, 0, "perf-hung") as hung:
        assert hung._child is not None
        pid = hung._child.pid
    await eventually(lambda: not psutil.pid_exists(pid))
