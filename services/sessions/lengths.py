"""Classes of sessions by how long they lasted, for the partial indexes of `sessions`. Pure.

A session that was there at a moment lasted less than an hour, and began in the hour before; or lasted less than a day,
and began in the day before; and so on; or it is still there. Each class has an index of its own, in the order of time,
which includes the end: a search reads little history, and no row of a session that had ended.
"""

from __future__ import annotations

from typing import Final, NamedTuple


class Length(NamedTuple):
    """A class of sessions that have ended: the condition of its index, and how long they lasted at most (an SQL
    interval in hours, as not all days have the same length), None if there is no bound."""

    condition: str
    longest: str | None


_LASTED: Final = "ended_at - opened_at"
HOUR, DAY, EIGHT_DAYS = "'01:00:00'::interval", "'1 day'::interval", "'8 days'::interval"

SHORT: Final = Length(f"{_LASTED} <= {HOUR}", HOUR)
MEDIUM: Final = Length(f"{_LASTED} > {HOUR} AND {_LASTED} <= {DAY}", "'24:00:00'::interval")
LONG: Final = Length(f"{_LASTED} > {DAY} AND {_LASTED} <= {EIGHT_DAYS}", "'192:00:00'::interval")
VERY_LONG: Final = Length(f"{_LASTED} > {EIGHT_DAYS}", None)

LENGTHS: Final = (SHORT, MEDIUM, LONG, VERY_LONG)
"""All of them: every session that has ended is of one."""


def is_of_the_last(at: str) -> str:
    """The condition for sessions `s` whose last connection already carried them at this time, if they were there then:
    the edge, version and address in their rows are those of that connection."""
    return f"(s.connections = 1 OR s.connected_at <= {at})"


STILL_THERE: Final = "ended_at IS NULL"


def there_at(at: str) -> tuple[str, ...]:
    """Conditions, each served by an index, for the sessions that were there at this time (an SQL value), given that
    they were opened by then. No two hold for the same session."""
    ended = (
        f"{length.condition} AND ended_at > {at}"
        + (f" AND opened_at > {at}::timestamptz - {length.longest}" if length.longest else "")
        for length in LENGTHS
    )
    return (*ended, STILL_THERE)
