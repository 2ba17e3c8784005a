"""Child processes of perf: messages of any length arrive whole, a death ends every wait, and no process stays."""

from __future__ import annotations

import os
import signal

import psutil
import pytest

from perf.load import child_process
from perf.load.child_process import ChildDied, ChildGroup
from perf.load.worker_messages import Take
from tests.perf.load import children
from tests.support.eventually import eventually


class Echo(ChildGroup[int]):
    def __init__(self, size: int) -> None:
        super().__init__(children.echo, [size], "perf-echo")
        self.messages: list[object] = []

    def received(self, number: int, message: object) -> None:
        self.messages.append(message)


async def test_a_message_arrives_whole_however_long_it_is() -> None:
    size = 5_000_000  # many times what a pipe holds
    async with Echo(size) as echo:
        for _ in range(2):
            echo.send(Take())
        assert await echo.until(lambda: len(echo.messages) == 2, within_s=20)
    assert [len(message) for message in echo.messages if isinstance(message, bytes)] == [size, size]


async def test_a_wait_ends_when_its_time_is_over() -> None:
    async with Echo(1) as echo:
        assert not await echo.until(lambda: False, within_s=0.01)


async def test_a_death_ends_every_wait() -> None:
    async with Echo(1) as echo:
        os.kill(echo.pids[0], signal.SIGKILL)
        with pytest.raises(ChildDied, match="perf-echo ended with exit code -9"):
            await echo.until(lambda: False, within_s=20)


async def test_a_child_that_never_gets_ready_is_an_error_too() -> None:
    with pytest.raises(ChildDied, match="exit code 3"):
        async with ChildGroup(children.die, [3], "perf-dead"):
            pass


async def test_leaving_ends_the_process() -> None:
    async with Echo(1) as echo:
        pid = echo.pids[0]
    await eventually(lambda: not psutil.pid_exists(pid))


async def test_leaving_ends_even_a_process_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child_process, "END_WITHIN_S", 0.1)
    async with ChildGroup(children.hang, [0], "perf-hung") as hung:
        pid = hung.pids[0]
    await eventually(lambda: not psutil.pid_exists(pid))
