"""What a prediction answers: when the present edges run out, how likely that is, how many edges are needed when. Pure.

Running out means that the demand, in edges, is above the number of edges that take clients now.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from msgspec import Struct

from services.metrics.forecasting.demand import CONNECTIONS, EDGES
from services.metrics.forecasting.prediction import HOUR_S, Answer, Prediction

STALE_S: Final = 12 * HOUR_S
"""A prediction whose first hour is longer ago than this is not used."""

WITHIN_H: Final = (1, 6, 24, 168)
"""The numbers of hours for which the chance of running out is reported."""

CHANCES: Final = (0.1, 0.5)
"""The chances for which the answer says when they are reached."""

_LOW: Final = 0.1
_DAY_H: Final = 24


class Range(Struct, frozen=True):
    """The value is below `low` with a probability of 10 %, and below `high` with the configured certainty; `expected`
    is the median."""

    low: float
    expected: float
    high: float


class OutlookHour(Struct, frozen=True, kw_only=True):
    """One coming hour. `at` is Unix time, in seconds; `edges` the demand, not rounded, without spare edges."""

    at: int
    edges: Range
    connections: Range | None
    chance_out: float


class Outlook(Struct, frozen=True, kw_only=True):
    """The coming hours, beginning with the current one. `chance_out` is the chance of running out within so many hours,
    `out_at` when a chance (in percent) is first reached (Unix time), None if not within the horizon."""

    hours: list[OutlookHour]
    chance_out: dict[str, float]
    out_at: dict[str, int | None]

    def needed(self, until: float) -> float:
        """The highest demand of the hours that begin before `until`, at the configured certainty."""
        return max((one.edges.high for one in self.hours if one.at < until), default=0.0)


def outlook(answer: Answer, now: float, edges: float, certainty: float) -> Outlook | None:
    """The outlook at `now` (Unix time) with `edges` edges that take clients; None without a usable prediction."""
    demand = answer.predictions.get(EDGES)
    if demand is None or not 0 <= now - demand.start < STALE_S:
        return None
    connections = answer.predictions.get(CONNECTIONS)
    first = int(now - demand.start) // HOUR_S
    hours = [
        OutlookHour(
            at=demand.start + HOUR_S * hour,
            edges=_range(demand, hour, certainty),
            connections=_range(connections, hour, certainty) if connections is not None else None,
            chance_out=round(demand.chance_above(hour, edges), 4),
        )
        for hour in range(first, len(demand.quantiles))
    ]
    chances = list(chances_until([one.chance_out for one in hours]))
    return Outlook(
        hours=hours,
        chance_out={f"{within}h": _last(chances[:within]) for within in WITHIN_H},
        out_at={f"{chance:.0%}": _first(hours, chances, chance) for chance in CHANCES},
    )


def chances_until(hours: Sequence[float]) -> Iterator[float]:
    """Turns the chance in each hour into the chance that it has happened by the end of each hour. Errors of hours of
    the same day are correlated, so the largest chance counts for the day; different days are taken to be
    independent."""
    before, day = 1.0, 0.0  # the chance that it has not happened before this day, and the largest one of this day
    for number, chance in enumerate(hours):
        if number % _DAY_H == 0:
            before, day = before * (1 - day), 0.0
        day = max(day, chance)
        yield round(1 - before * (1 - day), 4)


def _range(prediction: Prediction, hour: int, certainty: float) -> Range:
    return Range(prediction.at(hour, _LOW), prediction.at(hour, 0.5), prediction.at(hour, certainty))


def _last(chances: list[float]) -> float:
    return chances[-1] if chances else 0.0


def _first(hours: list[OutlookHour], chances: list[float], chance: float) -> int | None:
    return next((one.at for one, until in zip(hours, chances, strict=True) if until >= chance), None)
