"""A part that a process cannot do without takes the process with it, in good order."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal

import pytest

from services.chassis.process import tasks
from services.chassis.process.tasks import Tasks, vital


@pytest.fixture
def signals(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    raised: list[int] = []
    monkeypatch.setattr(signal, "raise_signal", raised.append)
    return raised


async def test_a_failure_ends_the_process(signals: list[int], caplog: pytest.LogCaptureFixture) -> None:
    async def fails() -> None:
        raise LookupError("no more")

    with caplog.at_level(logging.CRITICAL), pytest.raises(LookupError):
        await vital(fails())
    await asyncio.sleep(0)  # the callback runs in the loop's next turn
    assert signals == [signal.SIGTERM]
    assert "a vital task failed" in caplog.text


async def test_an_ordinary_end_does_not(signals: list[int]) -> None:
    async def ends() -> None:
        return None

    await vital(ends())
    task = vital(asyncio.Event().wait())  # type: ignore[arg-type]  # its result does not matter here
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.sleep(0)
    assert signals == []


async def test_the_end_waits_for_tasks_and_asks_again_whoever_lost_a_cancellation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tasks, "_ASK_AGAIN_S", 0.01)
    asked: list[str] = []

    async def loses_the_first() -> None:
        while len(asked) < 2:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                asked.append("cancelled")

    one = asyncio.ensure_future(loses_the_first())
    await asyncio.sleep(0)
    await tasks.end([one])
    assert one.done() and len(asked) == 2


async def test_a_task_that_never_ends_does_not_hold_up_the_process(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tasks, "_ASK_AGAIN_S", 0.01)
    monkeypatch.setattr(tasks, "_GIVE_UP_S", 0.05)
    may_end = False

    async def stays() -> None:
        while not may_end:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.Event().wait()

    one = asyncio.ensure_future(stays())
    await asyncio.sleep(0)
    await tasks.end([one])
    went_on = not one.done()
    may_end = True  # before anything is asserted: otherwise a failure of this test would never end
    await tasks.end([one])
    assert went_on and "ignores its cancellation" in caplog.text


async def test_tasks_of_one_owner_are_held_until_they_are_done_and_end_together() -> None:
    owned, go = Tasks(), asyncio.Event()

    async def answers() -> int:
        await go.wait()
        return 7

    first, second = owned.start(answers()), owned.start(asyncio.Event().wait())
    assert len(owned) == 2
    await owned.wait(0.01)
    assert not first.done()
    go.set()
    assert await first == 7
    await asyncio.sleep(0)  # the callback runs in the loop's next turn
    assert len(owned) == 1
    await owned.stop()
    assert second.cancelled()
    await asyncio.sleep(0)
    assert len(owned) == 0
    await owned.wait(0)


async def test_tasks_of_one_owner_can_be_cancelled_by_one_who_cannot_wait() -> None:
    owned = Tasks()
    task = owned.start(asyncio.Event().wait())
    owned.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
