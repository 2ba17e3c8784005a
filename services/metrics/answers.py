"""The answers about capacity and forecast, the same over HTTP and NATS. Times are Unix time, in seconds."""

from __future__ import annotations

from msgspec import UNSET, Struct, UnsetType

from services.metrics.capacity.laws import Resource
from services.metrics.forecasting.demand import CONNECTIONS, EDGES
from services.metrics.forecasting.outlook import OutlookHour
from services.metrics.forecasting.prediction import Answer
from services.metrics.planner import NO_MINUTE, Planner


class EdgeAnswer(Struct, frozen=True, kw_only=True):
    """One edge. `headroom` is how many more connections it can take, None if nothing limits them; `used` is the share
    of each limit that it uses."""

    edge: str
    draining: bool
    headroom: float | None
    binding: Resource | None
    used: dict[Resource, float]


class LawAnswer(Struct, frozen=True, kw_only=True):
    """One law: `quality` (R²) and root mean square `error` of its fit, and the `highest` use seen, in units of the
    resource; `limit` is the most that an edge should use, None for no limit."""

    limit: float | None
    quality: float
    error: float
    highest: float


class CapacityAnswer(Struct, frozen=True, kw_only=True):
    """What the edges can take, as of the last full minute. `problem` says why there is no answer; None if there is
    one."""

    problem: str | None
    at: int | None = None
    headroom: float | None = None
    binding: Resource | None = None
    headroom_by_resource: dict[Resource, float] = {}
    needed_edges: float | None = None
    recommended_edges: int | None = None
    edges: list[EdgeAnswer] = []
    laws: dict[Resource, LawAnswer] = {}
    levels: int = 0


class ForecastAnswer(Struct, frozen=True, kw_only=True):
    """The coming hours. `error` is the mean absolute error of a forecast for one day, as a share of the mean demand of
    the coming day; `naive_error` is the same for a repetition of the week before. Both were measured on the last
    weeks."""

    problem: str | None
    hours: list[OutlookHour] = []
    chance_out: dict[str, float] = {}
    out_at: dict[str, int | None] = {}
    recommended_edges: int | None = None
    edges_by_hour: list[int] = []
    error: float | UnsetType | None = UNSET
    naive_error: float | UnsetType | None = UNSET


def capacity_answer(planner: Planner) -> CapacityAnswer:
    """What `planner` knows about capacity."""
    capacity, minute = planner.capacity, planner.minute
    if capacity is None or minute is None:
        return CapacityAnswer(problem=NO_MINUTE)
    edges = [
        EdgeAnswer(edge=one.edge, draining=one.draining, headroom=one.connections, binding=one.binding, used=one.used)
        for one in capacity.edges
    ]
    laws = {
        name: LawAnswer(limit=planner.limits.get(name), quality=law.quality, error=law.error, highest=law.highest)
        for name, law in planner.laws.items()
    }
    return CapacityAnswer(
        problem=None,
        at=minute.minute,
        headroom=capacity.connections,
        binding=capacity.binding,
        headroom_by_resource=capacity.by_resource,
        needed_edges=capacity.needed,
        recommended_edges=planner.recommended,
        edges=edges,
        laws=laws,
        levels=planner.levels,
    )


def forecast_answer(planner: Planner, now: float) -> ForecastAnswer:
    """What `planner` expects from `now` (Unix time) on."""
    outlook = planner.outlook(now)
    if outlook is None or planner.answer is None:
        return ForecastAnswer(problem=planner.problem or NO_MINUTE, recommended_edges=planner.recommended)
    error, naive = forecast_errors(planner.answer)
    return ForecastAnswer(
        problem=planner.problem,
        hours=outlook.hours,
        chance_out=outlook.chance_out,
        out_at=outlook.out_at,
        recommended_edges=planner.recommended,
        edges_by_hour=[planner.bounded(one.edges.high) for one in outlook.hours],
        error=error,
        naive_error=naive,
    )


def forecast_errors(answer: Answer) -> tuple[float | None, float | None]:
    """The error of a forecast for one day, and of a repetition of the week before, as shares of the mean predicted
    demand."""
    found = answer.predictions.get(CONNECTIONS) or answer.predictions.get(EDGES)
    if found is None or not found.quantiles:
        return None, None
    day = [found.at(hour, 0.5) for hour in range(min(24, len(found.quantiles)))]
    mean = sum(day) / len(day)
    if not mean:
        return None, None
    share = [None if error is None else error / mean for error in (found.error, found.naive_error)]
    return share[0], share[1]
