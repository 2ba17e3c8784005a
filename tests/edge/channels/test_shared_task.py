"""Work that several callers wait for: one outcome for all, and no caller ends it for the others."""

from __future__ import annotations

import asyncio

import pytest

from services.edge.broker.broker import BrokerAway
from services.edge.channels.shared_task import shared


def working(failure: str = "") -> tuple[asyncio.Event, asyncio.Task[str]]:
    done = asyncio.Event()

    async def work() -> str:
        await done.wait()
        return failure

    return done, asyncio.create_task(work())


async def test_all_who_wait_go_on_when_it_is_done() -> None:
    done, task = working()
    waiting = [asyncio.create_task(shared(task)) for _ in range(3)]
    await asyncio.sleep(0)
    assert not any(each.done() for each in waiting)
    done.set()
    assert await asyncio.gather(*waiting) == [None] * 3


async def test_all_who_wait_hear_why_it_failed() -> None:
    done, task = working("the log is away")
    waiting = [asyncio.create_task(shared(task)) for _ in range(2)]
    done.set()
    for each in waiting:
        with pytest.raises(BrokerAway, match="the log is away"):
            await each


async def test_a_cancelled_waiter_does_not_end_it_for_the_others() -> None:
    done, task = working()
    impatient, patient = (asyncio.create_task(shared(task)) for _ in range(2))
    await asyncio.sleep(0)
    impatient.cancel()
    done.set()
    await patient
    assert impatient.cancelled() and task.done() and not task.cancelled()


async def test_work_that_is_cancelled_has_failed() -> None:
    _, task = working()
    task.cancel()
    with pytest.raises(BrokerAway, match="stops"):
        await shared(task)
