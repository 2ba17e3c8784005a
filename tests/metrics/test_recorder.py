from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from services.metrics import recorder
from services.metrics.history import History
from services.metrics.recorder import Recorder
from tests.metrics.capacity.edges import minute
from tests.metrics.history_memory import MemoryHistory
from tests.support.eventually import eventually

pytestmark = pytest.mark.usefixtures("_hurry")


@pytest.fixture
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder, "_RETRY_S", (0.001, 0.002))


class Case:
    def __init__(self) -> None:
        self.history = MemoryHistory()
        self.now = 7200.0
        self.ready = 0
        self.recorder = Recorder(lambda: self.now)

    async def prepare(self) -> None:
        self.history._check()

    async def got_ready(self, history: History) -> None:
        assert history is self.history
        self.ready += 1

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.recorder.run(self.history, self.prepare, self.got_ready))
        yield
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    async def holds(self, count: int) -> None:
        async def check() -> None:
            assert (len(self.history.rows), self.recorder.waiting, self.recorder.problem) == (count, 0, None)

        await eventually(check)


async def test_minutes_are_written_as_they_come():
    case = Case()
    case.recorder.add([minute(1, at=7140)])
    async with case.running():
        await case.holds(1)
        case.recorder.add([minute(1, at=7200), minute(1, at=7200, edge="edge-2")])
        await case.holds(3)
    assert case.ready == 1


async def test_what_came_while_it_was_away_is_written_later_and_the_reason_is_told():
    case = Case()
    case.history.away = True
    async with case.running():
        case.recorder.add([minute(1, at=60 * at) for at in range(5)])

        async def told() -> None:
            assert case.recorder.problem == "PostgreSQL: away"

        await eventually(told)
        assert case.recorder.waiting == 5
        case.history.away = False
        await case.holds(5)
    assert case.recorder.dropped == 0


async def test_beyond_the_bound_the_oldest_are_dropped(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(recorder, "MAX_WAITING", 3)
    case = Case()
    case.recorder.add([minute(1, at=60 * at) for at in range(5)])
    await case.recorder.write(case.history)
    assert (sorted(case.history.rows), case.recorder.dropped) == (
        [(120, "edge-1"), (180, "edge-1"), (240, "edge-1")],
        2,
    )


async def test_hours_are_made_once_each_when_their_minutes_are_there():
    case = Case()
    for case.now in (7200.0, 7260.0, 7320.0, 10_800.0, 10_919.0, 10_920.0, 10_980.0):
        case.recorder.add([minute(1, at=int(case.now))])
        await case.recorder.write(case.history)
    assert case.history.tidied == [7080.0, 7200.0, 10_800.0]


async def test_a_failure_that_nobody_foresaw_is_told_and_tried_again(caplog: pytest.LogCaptureFixture):
    """A role that may create no tables, for example, or a server that has become read-only."""
    case = Case()
    allowed = asyncio.Event()

    async def prepare() -> None:
        if not allowed.is_set():
            raise RuntimeError("permission denied for schema public")

    case.recorder.add([minute(1, at=7140)])
    task = asyncio.create_task(case.recorder.run(case.history, prepare, case.got_ready))
    try:
        await eventually(lambda: case.recorder.problem == "PostgreSQL: permission denied for schema public")
        assert [record.levelname for record in caplog.records] == ["ERROR"], "once, not at each attempt"
        allowed.set()
        await case.holds(1)
    finally:
        task.cancel()
