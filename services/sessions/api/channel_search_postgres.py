"""Finds the sessions that were ever in a channel, newest first.

The sessions of its newest subscriptions are looked up first, then of more of them, then of all. If the channel has too
many subscriptions, all sessions are searched from the newest on instead: many of them were in the channel. Sessions
that were in it at a moment are found as `who` finds them.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Final

from services.chassis.postgres.pool import Database
from services.sessions.api.filters import Filters
from services.sessions.api.sessions_sql import UNKNOWN, Found, in_channel, select
from services.sessions.queries.channel_presence_postgres import newest_in_channel
from services.sessions.queries.channel_subscriptions_postgres import MANY, before_the_newest, has_many_since
from services.sessions.queries.places import Place
from services.sessions.queries.reaches import EVER

_FOR_EACH: Final = (2, 16)
"""Subscriptions that are looked up for each wanted session, in the first and in the second attempt."""

_LAST: Final = datetime(9999, 1, 1, tzinfo=UTC)
_JUST_BEFORE: Final = timedelta(microseconds=1)


def channel_to_search(filters: Filters) -> str | None:
    """The filters' channel, if the search should begin with it. Not if the filters name a user, who has few sessions,
    nor for the sessions that are away, which are few."""
    return filters.channel if not filters.of_few and filters.state != "away" else None


async def of_channel(database: Database, channel: str, filters: Filters, limit: int, after: Place | None) -> list[Any]:
    """Up to `limit` sessions of `channel`, the channel of the filters, from the place `after` on."""
    rows: list[Any] | None
    if filters.at is None:
        rows = await _of_any_time(database, channel, filters, limit, after)
    else:
        beginning = _beginning(filters)
        rows = await newest_in_channel(
            database,
            channel,
            filters.at,
            lambda since: in_channel(filters, since, after),
            limit,
            beginning,
            None if after is None else after.at,
        )
    if rows is None:
        query = select(filters, limit, after)
        rows = await database.fetch(query.sql, *query.values)
    return rows


async def _of_any_time(
    database: Database, channel: str, filters: Filters, limit: int, after: Place | None
) -> list[Any] | None:
    """None if the channel has too many subscriptions."""
    bounds = (None if after is None else after.at, filters.until)
    up_to = min((one for one in bounds if one is not None), default=_LAST)
    beginning = _beginning(filters)
    for number in (*(each * limit for each in _FOR_EACH), MANY):
        since = max(await before_the_newest(database, channel, number, up_to), beginning)
        if await has_many_since(database, channel, since, MANY):
            return None  # subscriptions after `up_to` are looked up, too: their sessions may have begun before it
        query = select(filters, limit, after, Found(since))
        rows: list[Any] = await database.fetch(query.sql, *query.values)
        if len(rows) >= limit or since == beginning:
            return rows
    return None


def _beginning(filters: Filters) -> datetime:
    return EVER if filters.since is None else filters.since - _JUST_BEFORE


async def all_of_channel(database: Database, filters: Filters) -> Found:
    """How to find all sessions of the filters' channel."""
    channel = channel_to_search(filters)
    if channel is None or await has_many_since(database, channel, EVER, MANY):
        return UNKNOWN
    return Found(EVER)
