from __future__ import annotations

from services.metrics.edge_count import CountSettings
from services.metrics.forecast_loop import ForecastLoop
from services.metrics.forecasting.forecaster import ForecastFailed
from services.metrics.forecasting.prediction import Answer, Task
from services.metrics.history import Hour
from services.metrics.planner import EdgeLimits, Planner
from tests.metrics.capacity.edges import minute
from tests.metrics.forecasting.predictions import answer
from tests.metrics.history_memory import MemoryHistory

T0 = 1_789_999_200


class Case:
    def __init__(self) -> None:
        self.planner = Planner(EdgeLimits(), CountSettings(), 0.9)
        self.history = MemoryHistory()
        self.asked: list[Task] = []
        self.failures = 0
        self.fails = False
        self.loop = ForecastLoop(self.planner, self.make, 3600, 24, lambda: T0 + 3600.0, self.failed)

    async def make(self, task: Task) -> Answer:
        if self.fails:
            raise ForecastFailed("the library is broken")
        self.asked.append(task)
        return answer(T0 + 3600, [1.0] * task.horizon)

    def failed(self) -> None:
        self.failures += 1


async def test_it_asks_with_the_hours_of_the_whole_and_hands_the_answer_on():
    case = Case()
    case.history.made = [
        Hour(T0, 60, minute(10, at=T0, edge=edge), minute(20, at=T0, edge=edge)) for edge in ("", "edge-1")
    ]
    assert await case.loop.once(case.history)
    assert [(task.horizon, task.series["connections"].values) for task in case.asked] == [(24, [20.0])]
    assert case.planner.answer is not None
    assert case.planner.problem is None


async def test_without_hours_the_library_is_not_started():
    case = Case()
    assert not await case.loop.once(case.history)
    assert case.planner.problem == "there is no full hour of history yet"
    assert (case.asked, case.failures) == ([], 0)


async def test_what_fails_is_counted_and_told():
    case = Case()
    case.history.away = True
    assert not await case.loop.once(case.history)
    assert case.planner.problem == "PostgreSQL: away"
    case.history.away, case.fails = False, True
    case.history.made = [Hour(T0, 60, minute(10, edge=""), minute(20, edge=""))]
    assert not await case.loop.once(case.history)
    assert (case.planner.problem, case.failures) == ("the library is broken", 2)
