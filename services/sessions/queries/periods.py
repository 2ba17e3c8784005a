"""A stretch of time, and how it is counted: pure. Counts are kept by minute and by hour (`rows.WIDTHS`)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

from msgspec import Struct

MINUTE_S: Final = 60
HOUR_S: Final = 3600

MINUTES_UP_TO: Final = timedelta(hours=6)
"""A longer period has a curve by hour."""

COUNTED: Final = """(width = 3600 AND at >= $1 AND at < $2
    OR width = 60 AND (at >= $3 AND at < $1 OR at >= $2 AND at < $4))"""
"""The condition for rows that are counted in a period, with the four values of `Period.counted`: whole hours by their
hour, and what is before and after them by minute. So a period is exact to the minute, and reads few rows."""


class Period(Struct, frozen=True):
    """From `since` up to `until`, without that moment itself."""

    since: datetime
    until: datetime

    @property
    def before(self) -> Period:
        """The period of the same length that ends where this one begins."""
        return Period(self.since - (self.until - self.since), self.since)

    @property
    def step_s(self) -> int:
        """The seconds between two points of a curve over it."""
        return MINUTE_S if self.until - self.since <= MINUTES_UP_TO else HOUR_S

    @property
    def counted(self) -> tuple[datetime, datetime, datetime, datetime]:
        """The values for `COUNTED`. A minute that the period touches belongs to it, unless it begins before `since`
        and the period begins within it: there the minute counts too, as counts know nothing smaller."""
        since, until = floor(self.since, MINUTE_S), ceiling(self.until, MINUTE_S)
        first, last = ceiling(since, HOUR_S), floor(until, HOUR_S)
        if first >= last:
            first = last = until
        return first, last, since, until

    @property
    def points(self) -> list[datetime]:
        """Where the steps of a curve over it begin."""
        at, step = floor(self.since, self.step_s), timedelta(seconds=self.step_s)
        points = []
        while at < self.until:
            points.append(at)
            at += step
        return points


class Point(Struct, frozen=True):
    """A value of a curve, that of the step from `at` on."""

    at: datetime
    count: int


def filled(period: Period, counts: dict[datetime, int]) -> list[Point]:
    """A curve over the whole period: 0 where nothing was counted."""
    return [Point(at, counts.get(at, 0)) for at in period.points]


def floor(at: datetime, step_s: int) -> datetime:
    """The beginning of the step that `at` is in, in UTC."""
    seconds = int(at.timestamp())
    return datetime.fromtimestamp(seconds - seconds % step_s, UTC)


def ceiling(at: datetime, step_s: int) -> datetime:
    """The first beginning of a step that is not before `at`, in UTC."""
    found = floor(at, step_s)
    return found if found == at else found + timedelta(seconds=step_s)
