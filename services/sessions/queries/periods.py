"""A stretch of time, and how it is counted: pure. Counts are kept by minute, hour and day (`rows.WIDTHS`)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from msgspec import Struct

FIRST_DAY: Final = datetime(1, 1, 2, tzinfo=UTC)
LAST_DAY: Final = datetime(9999, 12, 30, tzinfo=UTC)
"""Nobody means a moment within a day of the calendar's ends, and PostgreSQL's driver cannot take all of these."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

MINUTE_S: Final = 60
HOUR_S: Final = 3600
DAY_S: Final = 86_400

_ROUNDED: Final = timedelta(seconds=2 * MINUTE_S)
"""What rounding to whole minutes may add to a period."""
MINUTES_UP_TO: Final = timedelta(hours=6) + _ROUNDED
"""A longer period has a curve by hour."""
HOURS_UP_TO: Final = timedelta(days=4) + _ROUNDED
"""A longer one has a curve by day, in UTC."""

_COUNTED: Final = """(width = 86400 AND at >= {0} AND at < {1}
    OR width = 3600 AND (at >= {2} AND at < {0} OR at >= {1} AND at < {3})
    OR width = 60 AND (at >= {4} AND at < {2} OR at >= {3} AND at < {5}))"""


def counted_in(values: Sequence[str]) -> str:
    """The condition for the rows of counts in a period: by day for its whole days, by hour for the whole hours before
    and after them, and by minute for the rest. So few rows are read. `values`: SQL expressions for the six values of
    `Period.counted`."""
    return _COUNTED.format(*values)


COUNTED: Final = counted_in([f"${number}" for number in range(1, 7)])
"""The same with the values as the first six parameters."""

STEP: Final = "date_bin(make_interval(secs => $7::int), at, '1970-01-01 00:00:00+00'::timestamptz)"
"""The beginning of the step of a curve to which a row belongs; the seventh parameter is the length of the steps. With
the values of `Period.counted_up_to` this length, the curve counts nothing outside the period."""


class Period(Struct, frozen=True):
    """From `since` up to `until`, which is not included: the time that the answer covers. Counts are of whole minutes
    and peaks of whole hours, in UTC: the period in the question is rounded outwards to these."""

    since: datetime
    until: datetime

    def rounded(self, step_s: int) -> Period:
        """The period of all steps that this one touches, for questions about counts and their answers."""
        return Period(floor(self.since, step_s), ceiling(self.until, step_s))

    @property
    def before(self) -> Period:
        """The period of the same length that ends where this one begins; shorter where the calendar begins."""
        length = min(self.until - self.since, max(self.since, FIRST_DAY) - FIRST_DAY)
        return Period(self.since - length, self.since)

    @property
    def step_s(self) -> int:
        """The seconds between two points of a curve over it."""
        length = self.until - self.since
        return MINUTE_S if length <= MINUTES_UP_TO else HOUR_S if length <= HOURS_UP_TO else DAY_S

    @property
    def counted(self) -> tuple[datetime, ...]:
        """The values for `COUNTED`."""
        return self.counted_up_to(DAY_S)

    def counted_up_to(self, width_s: int) -> tuple[datetime, ...]:
        """The six values for `counted_in`, so that no row counts more than `width_s`: from when to when by day, by hour
        and by minute. The period must be `rounded`."""
        since, until = self.since, self.until
        hours = _whole(since, until, HOUR_S) if width_s >= HOUR_S else (until, until)
        days = _whole(*hours, DAY_S) if width_s >= DAY_S else (hours[1], hours[1])
        return (*days, *hours, since, until)

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


def _whole(since: datetime, until: datetime, step_s: int) -> tuple[datetime, datetime]:
    """The first and last bound of the whole steps between the two; twice `until` if there is none."""
    first, last = ceiling(since, step_s), floor(until, step_s)
    return (first, last) if first < last else (until, until)


def filled(period: Period, counts: dict[datetime, int]) -> list[Point]:
    """A curve over the whole period: 0 where nothing was counted."""
    return [Point(at, counts.get(at, 0)) for at in period.points]


def floor(at: datetime, step_s: int) -> datetime:
    """The beginning of the step that `at` is in, in UTC."""
    step = timedelta(seconds=step_s)
    return _EPOCH + (at - _EPOCH) // step * step


def ceiling(at: datetime, step_s: int) -> datetime:
    """The first beginning of a step that is not before `at`, in UTC."""
    found = floor(at, step_s)
    return found if found == at else found + timedelta(seconds=step_s)
