"""Counts of sessions: from the counts of openings where these suffice, otherwise from the sessions."""

from __future__ import annotations

from msgspec import structs

from services.sessions.api.counts import (
    MAX_GROUPS,
    CountsView,
    SessionCount,
    Source,
    TooManyCounts,
    asks_openings,
    check,
    count_openings,
    count_sessions,
)
from services.sessions.api.filters import Filters
from services.sessions.api.reader_postgres import ReadPool
from services.sessions.queries.periods import MINUTE_S, Period


class SessionCounts:
    """Counts sessions."""

    def __init__(self, pool: ReadPool) -> None:
        self._pool = pool

    async def ask(self, filters: Filters, group: tuple[str, ...], interval_s: int | None, period: Period) -> CountsView:
        """The sessions that were opened in the period and satisfy the filters, by interval and group.

        Raises `TooLong`, `TooManyCounts`, `StoreAway`, and `TooSlow`.
        """
        check(filters, group, period)
        source: Source = "openings" if asks_openings(filters, group) else "sessions"
        if source == "openings":
            period = period.rounded(MINUTE_S)
            query = count_openings(filters, group, interval_s, period)
        else:
            bounded = structs.replace(filters, since=period.since, until=period.until)
            query = count_sessions(bounded, group, interval_s)
        async with self._pool.database() as database:
            rows = await database.fetch(query.sql, *query.values)
        if len(rows) > MAX_GROUPS:
            to_do = "a longer interval, or fewer groups" if interval_s else "fewer groups, or a shorter period"
            raise TooManyCounts(f"there are more than {MAX_GROUPS:,} counts: expected {to_do}")
        counts = [SessionCount(**{**row, "at": row["at"] or period.since}) for row in rows]
        return CountsView(period=period, source=source, interval_s=interval_s, counts=counts)
