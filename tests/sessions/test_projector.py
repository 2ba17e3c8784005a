"""How facts are gathered. Their folding is tested on real servers, in test_service.py."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from proto.events import EventBatch, Opened
from services.sessions import projector as module
from services.sessions.instruments import Instruments
from services.sessions.log_nats import LogPage, LogState
from services.sessions.projector import Projector
from tests.support.eventually import eventually
from tests.support.store_memory import MemoryStore

RESUME_WINDOW_MS = 60_000


class LogDouble:
    """A session log in a list."""

    def __init__(self) -> None:
        self.batches: list[EventBatch] = []

    def write(self, facts: int) -> None:
        number = len(self.batches) + 1
        events = [Opened(at=1, connection=f"{number}.{i}", user="ann") for i in range(facts)]
        self.batches.append(EventBatch(edge="edge-1", instance="a", number=number, events=list(events)))

    async def read(self, start: int) -> LogPage:
        return LogPage(list(enumerate(self.batches, 1))[start - 1 :], len(self.batches), 0, more=False)

    async def state(self) -> LogState:
        return LogState("epoch", 1, len(self.batches))


async def nothing() -> None:
    return None


@pytest.fixture
def log() -> LogDouble:
    return LogDouble()


@pytest.fixture
async def projector(log: LogDouble) -> AsyncIterator[Projector]:
    made = Projector(log, MemoryStore(RESUME_WINDOW_MS), nothing, Instruments())  # type: ignore[arg-type]  # a double
    running = asyncio.create_task(made.run())
    await eventually(lambda: made.problem is None)
    yield made
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The times that it waits for more facts after the first one. The waits take no time."""
    found: list[float] = []
    sleep = asyncio.sleep

    async def recorded(seconds: float) -> None:
        if seconds in (module._NOTICE_GRACE_S, module._GATHER_S):
            found.append(seconds)
            seconds = 0
        await sleep(seconds)

    monkeypatch.setattr(asyncio, "sleep", recorded)
    return found


async def test_it_gathers_while_many_facts_come_and_follows_at_once_otherwise(
    waits: list[float], log: LogDouble, projector: Projector
) -> None:
    async def write(facts: int) -> None:
        log.write(facts)
        projector.notify()
        await eventually(lambda: projector.sequence == len(log.batches))

    for facts in (1, 100, 100, 1, 1):
        await write(facts)
    few, many = module._NOTICE_GRACE_S, module._GATHER_S
    assert waits == [few, few, many, many, few]
    assert projector.events_applied == 203
