"""The input of the forecast: the hours of the whole cluster, as regular series. Pure.

*Edges* is how many edges each hour's load needed, by the laws as they are now: the one figure that says when capacity
runs out, whichever resource binds. *Connections* is what people ask for. Both are values of the hour's busy minutes
(the 95th percentile), since capacity must suffice for these too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from services.metrics.capacity.headroom import Limits, needed_edges
from services.metrics.capacity.laws import Laws
from services.metrics.forecasting.cleaning import filled
from services.metrics.forecasting.prediction import HOUR_S, Series
from services.metrics.history import Hour
from services.metrics.minutes import Minute

EDGES: Final = "edges"
CONNECTIONS: Final = "connections"
_LEAST_MINUTES: Final = 10  # an hour with fewer known minutes is a gap


def series_of(hours: Sequence[Hour], laws: Laws, limits: Limits) -> dict[str, Series]:
    """The series by name; none without hours. `hours` are those of the whole cluster, oldest first."""
    known = {one.hour: one.high for one in hours if one.minutes >= _LEAST_MINUTES}
    if not known:
        return {}
    start, end = min(known), max(known)
    grid = [known.get(hour) for hour in range(start, end + HOUR_S, HOUR_S)]

    def series(value: Callable[[Minute], float]) -> Series:
        return Series(start=start, values=filled([None if load is None else value(load) for load in grid]))

    return {
        EDGES: series(lambda load: needed_edges(laws, limits, load)[0]),
        CONNECTIONS: series(lambda load: load.connections),
    }
