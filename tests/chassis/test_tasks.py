"""A part that a process cannot do without takes the process with it, in good order."""

from __future__ import annotations

import asyncio
import logging
import signal

import pytest

from services.chassis.tasks import vital


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
    assert "a vital part failed" in caplog.text


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
