"""Which ranges of time the partitions of a table have, and their names. Pure.

A partition is dropped as a whole when all of it is older than what is kept, so ranges are short where rows are kept for
a short time. They are not as short as they could be: a search for a connection by its name looks into each partition.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

TIME_COLUMNS: Final = {
    "timeline": "at",
    "subscriptions": "opened_at",
    "connections": "opened_at",
    "sessions": "opened_at",
    "channel_hours": "hour",
    "channel_days": "day",
    "drops": "at",
    "drop_codes": "at",
    "drop_versions": "at",
    "openings": "at",
    "opening_versions": "at",
    "refusal_counts": "at",
    "refusals": "at",
    "log_archive": "stored_at",
}
"""The partitioned tables, and the column of each. A table of parts comes before the table of what they are parts of."""

PAST: Final = timedelta(days=7)
"""Facts up to this age get a partition of their time, for when the log is read again from its beginning."""

_DAY: Final = timedelta(days=1)
_WIDTHS: Final = ((timedelta(days=14), _DAY), (timedelta(days=180), 7 * _DAY))
_LONGEST: Final = 30 * _DAY
_MONDAY: Final = datetime(1970, 1, 5, tzinfo=UTC)
"""All ranges begin a multiple of their width after this moment."""


class Range(NamedTuple):
    """The times of a partition; `end` is not included."""

    start: datetime
    end: datetime


class Partition(NamedTuple):
    """A partition of `table`, and its name."""

    table: str
    name: str
    range: Range


def width_of(keep: timedelta) -> timedelta:
    """The width of ranges where rows are kept for this long; zero: for ever."""
    return next((width for longest, width in _WIDTHS if timedelta(0) < keep <= longest), _LONGEST)


def partition(table: str, range: Range) -> Partition:
    """The partition of `table` for a range. Ranges begin at midnight in UTC."""
    return Partition(table, f"{table}_p{range.start:%Y%m%d}", range)


def missing(there: Iterable[Range], since: datetime, now: datetime, width: timedelta) -> list[Range]:
    """The ranges to make, so that there is a range for all times from `since` to the end of the range after the one of
    `now`. Existing ranges stay as they are, whatever their width."""
    ranges = sorted(there)
    made: list[Range] = []
    at, after_now = since, 0
    while after_now < 2:
        found = _covering(ranges, at)
        if found is None:
            found = _fitting(ranges, at, width)
            ranges = sorted([*ranges, found])
            made.append(found)
        after_now += found.end > now
        at = found.end
    return made


def _covering(ranges: Sequence[Range], at: datetime) -> Range | None:
    return next((each for each in ranges if each.start <= at < each.end), None)


def _fitting(ranges: Sequence[Range], at: datetime, width: timedelta) -> Range:
    start = _MONDAY + (at - _MONDAY) // width * width
    end = start + width
    before = [each.end for each in ranges if each.end <= at]
    behind = [each.start for each in ranges if each.start > at]
    return Range(max([start, *before]), min([end, *behind]))


def outlived(there: Iterable[Partition], before: datetime) -> list[Partition]:
    """The partitions all of whose times are before `before`, the oldest first."""
    return sorted((each for each in there if each.range.end <= before), key=lambda each: each.range)
