"""Who was in a channel at a moment: found from its newest subscriptions, then from more of them."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from services.chassis.postgres.pool import Database
from services.sessions.queries.channel_subscriptions_postgres import MANY, before_the_newest, has_many_since
from services.sessions.queries.places import Place
from services.sessions.queries.reaches import EVER

_FOR_EACH: Final = (4, 32)
"""Subscriptions that are looked up for each session that is wanted, at first and then."""

_WORTH_MORE: Final = 2
"""If the newest subscriptions had less than this part of the sessions that are wanted, a few more will not do: of older
ones fewer are still there."""


async def in_channel(
    database: Database,
    statement: str,
    at: datetime,
    edge: str | None,
    channel: str,
    limit: int,
    after: Place | None = None,
) -> list[Any] | None:
    """The newest `limit` rows of the statement, whose parameters are those of `IN_CHANNEL`, the limit, and the values
    of the place `after`. None if the channel has too many subscriptions to look for them this way."""
    up_to, place = (at, ()) if after is None else (min(at, after.at), (after.at, after.id))
    few_more = True
    for number in (*(each * limit for each in _FOR_EACH if each * limit < MANY), MANY):
        if number < MANY and not few_more:
            continue
        since = await before_the_newest(database, channel, number, up_to)
        if after is not None and await has_many_since(database, channel, since, MANY):
            return None  # those of the pages before are looked up, too: their sessions may have begun before the place
        rows: list[Any] = await database.fetch(statement, at, edge, channel, since, limit, *place)
        if len(rows) >= limit or since == EVER:
            return rows
        few_more = len(rows) * _WORTH_MORE >= limit
    return None
