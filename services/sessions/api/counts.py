"""Counting sessions: by interval and by the properties that filters use. Pure.

If the counts of opened connections (`rows.OpeningKey`) have all that is asked for, they answer, even for a long period.
Otherwise the sessions themselves are counted, over a shorter period at most.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final, Literal

from msgspec import UNSET, Struct, UnsetType

from services.sessions.api.filters import Filters
from services.sessions.api.parameters import Parameter, interval, some_of
from services.sessions.api.sessions_sql import STATE, Bound, Query, edge_then, of_channels, where
from services.sessions.queries.periods import DAY_S, HOUR_S, MINUTE_S, Period, counted_in

MAX_COUNTED: Final = timedelta(days=7)
"""The longest period in which sessions themselves are counted, unless they are those of one named user."""

MAX_GROUPS: Final = 10_000

_EXPRESSIONS: Final[dict[str, str]] = {
    "user": "s.user_id",
    "channel": "u.channel",
    "edge": "s.edge",
    "end_code": "s.end_code",
    "client_name": "s.client_name",
    "client_version": "s.client_version",
    "address": "s.address",
    "state": STATE,
}
_OF_OPENINGS: Final = ("edge", "client_name", "client_version")

GROUP: Final = Parameter(
    "group",
    f"What to count by: some of {', '.join(_EXPRESSIONS)}, separated by commas. With `at`, `edge` and "
    "`channel` are those of that moment, as the filters are; all others are of the current or last connection.",
    {"type": "string", "pattern": f"^({'|'.join(_EXPRESSIONS)})(,({'|'.join(_EXPRESSIONS)}))*$"},
    some_of(*_EXPRESSIONS),
)
INTERVAL: Final = Parameter(
    "interval",
    "Count each interval of the period by itself: whole minutes such as 5m, 1h, 1d, counted from 1970 in UTC, so that "
    "one of 7m begins at any minute of the hour.",
    {"type": "string", "pattern": "^[1-9][0-9]{0,5}[smhd]$"},
    interval,
)


Source = Literal["openings", "sessions"]


class SessionCount(Struct, kw_only=True):
    """The sessions of one group that were opened in the interval from `at` on."""

    at: datetime
    count: int
    user: str | UnsetType = UNSET
    channel: str | UnsetType = UNSET
    edge: str | UnsetType = UNSET
    end_code: int | UnsetType | None = UNSET
    client_name: str | UnsetType = UNSET
    client_version: str | UnsetType = UNSET
    address: str | UnsetType = UNSET
    state: str | UnsetType = UNSET


class CountsView(Struct, kw_only=True):
    """How many sessions were opened in the period, the earliest interval first, and the greatest group first in each
    interval.

    `source` "openings": counts of opened connections that began a session, with the edge and version at that time, by
    whole minutes, to which the period is rounded outwards. "sessions": the sessions themselves, with the edge and
    version of their last connection, except that with `at` edge and channels are those of that moment. `interval_s` is
    null if the period is counted as a whole. An interval without a session is left out; only a part of the first and
    the last may be in the period. With the group `channel` a session counts in each of its channels.
    """

    period: Period
    source: Source
    interval_s: int | None
    counts: list[SessionCount]


class TooLong(Exception):
    """The period is too long for what is asked; the text says what to do."""


class TooManyCounts(Exception):
    """There are more counts than an answer has; the text says what to do."""


def asks_openings(filters: Filters, group: tuple[str, ...]) -> bool:
    """Whether the counts of opened connections have everything that is asked for."""
    others = (filters.at, filters.user, filters.channel, filters.end_code, filters.address, filters.state)
    return set(group) <= set(_OF_OPENINGS) and all(each is None for each in others)


def check(filters: Filters, group: tuple[str, ...], period: Period) -> None:
    """Raises `TooLong` if sessions would have to be counted over too long a period."""
    if not asks_openings(filters, group) and not filters.of_few and period.until - period.since > MAX_COUNTED:
        raise TooLong(
            f"expected a period of at most {MAX_COUNTED.days} days, as these groups and filters are counted session by "
            f"session; counts by only {', '.join(_OF_OPENINGS)}, or of one named `user`, may be of a longer one"
        )


def count_openings(filters: Filters, group: tuple[str, ...], interval_s: int | None, period: Period) -> Query:
    """Counts the opened connections that began a session. The period has whole minutes."""
    bound = Bound()
    widest = next((width for width in (DAY_S, HOUR_S) if interval_s is None or interval_s % width == 0), MINUTE_S)
    conditions = [counted_in([bound(each) for each in period.counted_up_to(widest)]), "NOT resumed"]
    for name in _OF_OPENINGS:
        if (value := getattr(filters, name)) is not None:
            conditions.append(f"{name} = {bound(value)}")
    columns = [_bin("at", interval_s, bound), *group]
    return _grouped(columns, group, "sum(count)::bigint", f"openings WHERE {' AND '.join(conditions)}", bound.values)


def count_sessions(filters: Filters, group: tuple[str, ...], interval_s: int | None) -> Query:
    """Counts sessions. The filters contain the period."""
    bound = Bound()
    columns = [_bin("s.opened_at", interval_s, bound), *(_expression(name, filters, bound) for name in group)]
    source = f"(SELECT * FROM sessions s WHERE {where(filters, bound)}) s"
    if "channel" in group:
        return _grouped(columns, group, "count(DISTINCT s.id)", f"{source} {of_channels(filters, bound)}", bound.values)
    return _grouped(columns, group, "count(*)", source, bound.values)


def _expression(name: str, filters: Filters, bound: Bound) -> str:
    return edge_then(filters, bound) if name == "edge" and filters.at is not None else _EXPRESSIONS[name]


def _bin(column: str, interval_s: int | None, bound: Bound) -> str:
    if interval_s is None:
        return "NULL::timestamptz"
    return f"date_bin(make_interval(secs => {bound(interval_s)}::int), {column}, '1970-01-01 00:00:00+00'::timestamptz)"


def _grouped(columns: list[str], names: tuple[str, ...], count: str, source: str, values: list[Any]) -> Query:
    """`names` name all `columns` except the first, which is the interval."""
    selected = ", ".join(f'{column} AS "{name}"' for column, name in zip(columns, ("at", *names), strict=True))
    numbers = ", ".join(str(number) for number in range(1, len(columns) + 1))
    order = ", ".join(["1", f"{len(columns) + 1} DESC", *map(str, range(2, len(columns) + 1))])
    sql = (
        f"SELECT {selected}, {count} AS count FROM {source} GROUP BY {numbers} ORDER BY {order} LIMIT {MAX_GROUPS + 1}"
    )
    return Query(sql, values)
