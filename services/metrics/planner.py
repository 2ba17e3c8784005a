"""Updates the model every minute: levels, laws, capacity, recommendation; and uses the forecast, if there is one. Pure:
times are arguments, in Unix time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from services.metrics.capacity.headroom import Capacity, Limits, capacity_of
from services.metrics.capacity.laws import Laws, Resource, fit_laws
from services.metrics.capacity.levels import Levels
from services.metrics.edge_count import CountSettings, EdgeCount, Situation
from services.metrics.forecasting.demand import series_of
from services.metrics.forecasting.outlook import Outlook, outlook
from services.metrics.forecasting.prediction import Answer, Task
from services.metrics.history import Hour
from services.metrics.minutes import WHOLE, Minute

NO_MINUTE: Final = "no minute has been heard in full yet"
NO_FORECAST: Final = "no forecast has been made yet"
STALE_S: Final = 120.0


class EdgeLimits(NamedTuple):
    """What one edge has of each resource; 0 for a resource without a limit. `utilization` is the largest share of it
    that an edge should use (except for the loop lag, which is a limit by itself). Edges report their descriptors, and
    their memory, unless it is set here."""

    utilization: float = 0.7
    cpu: float = 1.0
    memory: float = 0.0
    bandwidth: float = 0.0
    loop_lag: float = 0.1

    def of(self, edges: Sequence[Minute]) -> Limits:
        """The limits in effect."""
        descriptors = min((one.max_fds for one in edges), default=0.0)
        memory = min((one.memory_limit for one in edges if one.memory_limit), default=0.0)
        sizes: dict[Resource, float] = {
            "cpu": self.cpu,
            "memory": self.memory or memory,
            "descriptors": descriptors,
            "bandwidth": self.bandwidth,
        }
        limits: dict[Resource, float] = {name: size * self.utilization for name, size in sizes.items() if size}
        return limits | ({"loop_lag": self.loop_lag} if self.loop_lag else {})


class Planner:
    """What this instance knows about capacity and demand. `problem` says why there is no forecast; None if there is
    one. `most_edges` is the most edges that it recommends."""

    def __init__(self, limits: EdgeLimits, count: CountSettings, certainty: float) -> None:
        self._edge_limits = limits
        self._certainty = certainty
        self._levels = Levels()
        self._count = EdgeCount(count)
        self.most_edges = count.most
        self._answer: Answer | None = None
        self.laws: Laws = fit_laws(self._levels)
        self.limits: Limits = limits.of(())
        self.minute: Minute | None = None
        self.capacity: Capacity | None = None
        self.problem: str | None = NO_FORECAST

    @property
    def levels(self) -> int:
        """How many levels of load the laws are fitted to."""
        return len(self._levels)

    @property
    def recommended(self) -> int | None:
        """How many edges to run, None before the first minute."""
        return self._count.recommended

    @property
    def answer(self) -> Answer | None:
        """The last forecast."""
        return self._answer

    def learn(self, hours: Sequence[Hour]) -> None:
        """Takes hours of single edges, oldest first: what the history knows from before the start."""
        for hour in hours:
            self._levels.add(hour.mean)
        self.laws = fit_laws(self._levels)

    def minute_ended(self, minutes: Sequence[Minute]) -> None:
        """Takes the figures of one minute, the whole last, as `MinuteBook` gives them."""
        edges = [one for one in minutes if one.edge != WHOLE]
        if not edges:
            return
        for one in edges:
            self._levels.add(one)
        self.laws = fit_laws(self._levels)
        self.limits = self._edge_limits.of(edges)
        self.minute = minutes[-1]
        self.capacity = capacity_of(self.laws, self.limits, edges, self.minute)
        serving = sum(not one.draining for one in edges)
        at = float(self.minute.minute) + 60
        ahead = self.outlook(at)
        self._count.decide(
            at,
            Situation(
                _felt(self.capacity),
                serving,
                len(edges) - serving,
                ahead.needed if ahead is not None else lambda until: 0.0,
            ),
        )

    def sweep(self, now: float) -> None:
        """Forgets the capacity if no edge has been heard for `STALE_S`, as it is not known any more. The recommendation
        stays."""
        if self.minute is not None and now > self.minute.minute + 60 + STALE_S:
            self.minute = self.capacity = None

    def task(self, hours: Sequence[Hour], horizon: int) -> Task:
        """The task for a forecast, from hours of the whole cluster, oldest first."""
        return Task(series=series_of(hours, self.laws, self.limits), horizon=horizon)

    def forecasted(self, answer: Answer | None, problem: str | None) -> None:
        """Takes a new forecast, or the reason why there is none; the last one stays in use as long as it is fresh."""
        if answer is not None and answer.predictions:
            self._answer = answer
        self.problem = problem or "; ".join(sorted((answer or Answer(predictions={})).problems.values())) or None

    def outlook(self, now: float) -> Outlook | None:
        """The coming hours, seen from `now`, for the edges that take clients; None without a fresh forecast."""
        if self._answer is None or self.capacity is None:
            return None
        return outlook(self._answer, now, self._serving(), self._certainty)

    def bounded(self, needed: float) -> int:
        """How many edges to run if the load needs `needed`."""
        return self._count.bounded(needed)

    def _serving(self) -> float:
        return float(sum(not one.draining for one in self.capacity.edges)) if self.capacity is not None else 0.0


def _felt(capacity: Capacity) -> float:
    """The needed edges; if an edge is beyond a limit, at least as many as the measured use of the edges needs. An
    overloaded edge does less than it is asked to, so its load alone would not show that.

    The loop lag does not count here: it does not grow in proportion to the load, and a single freeze makes it large.
    """
    most = [max((used for name, used in one.used.items() if name != "loop_lag"), default=0.0) for one in capacity.edges]
    return max(capacity.needed, sum(most)) if any(one > 1 for one in most) else capacity.needed
