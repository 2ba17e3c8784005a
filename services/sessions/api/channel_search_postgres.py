"""Finds the sessions that were ever in a channel, newest first.

Those of its newest subscriptions are looked up first, then of more of them, then of all. Of a channel in which too many
are, all sessions are walked through from the newest on instead: it is in many of them.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Final

from services.chassis.postgres.pool import Database
from services.sessions.api.filters import Filters
from services.sessions.api.parameters import Place
from services.sessions.api.sessions_sql import UNKNOWN, Found, select

MANY: Final = 20_000
"""Subscriptions of a channel that are looked up at the most."""

_FOR_EACH: Final = (4, 32)
"""Subscriptions that are looked up for each session that is wanted, at first and then."""

_FIRST: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LAST: Final = datetime(9999, 1, 1, tzinfo=UTC)
_JUST_BEFORE: Final = timedelta(microseconds=1)

_NTH: Final = """
SELECT since FROM subscriptions WHERE channel = $1 AND since <= $2 ORDER BY since DESC OFFSET $3 LIMIT 1"""
_HAS_MORE: Final = """
SELECT count(*) > $3 FROM (SELECT FROM subscriptions WHERE channel = $1 AND since > $2 LIMIT $3 + 1) AS counted"""


def is_searched(filters: Filters) -> bool:
    """Whether the channel is where to begin: a user has few sessions, and few are away."""
    return filters.channel is not None and filters.user is None and filters.state != "away"


async def of_channel(database: Database, filters: Filters, limit: int, after: Place | None) -> list[Any]:
    """Up to `limit` sessions of the filters' channel, from the place `after` on."""
    bounds = (None if after is None else after.at, filters.until, filters.at)
    up_to = min((one for one in bounds if one is not None), default=_LAST)
    beginning = _FIRST if filters.since is None else filters.since - _JUST_BEFORE
    for number in (*(each * limit for each in _FOR_EACH), MANY):
        nth = await database.fetchval(_NTH, filters.channel, up_to, number)
        since = beginning if nth is None else max(nth, beginning)
        if await database.fetchval(_HAS_MORE, filters.channel, since, MANY):
            break
        query = select(filters, limit, after, Found(since))
        rows: list[Any] = await database.fetch(query.sql, *query.values)
        if len(rows) >= limit or since == beginning:
            return rows
    query = select(filters, limit, after)
    return await database.fetch(query.sql, *query.values)


async def all_of_channel(database: Database, filters: Filters) -> Found:
    """How to find all sessions of the filters' channel."""
    if not is_searched(filters) or await database.fetchval(_HAS_MORE, filters.channel, _FIRST, MANY):
        return UNKNOWN
    return Found(_FIRST)
