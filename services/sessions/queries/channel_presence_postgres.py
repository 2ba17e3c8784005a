"""Who was in a channel at a moment: reads the channel's subscriptions from the newest on, until a page is full."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from services.chassis.postgres.pool import Database
from services.sessions.queries.channel_subscriptions_postgres import MANY, before_the_newest
from services.sessions.queries.reaches import EVER
from services.sessions.statements import PLANNED_FOR_VALUES, PLANNED_ONCE

# Rows that are looked up one by one have the same plan for all values: planning for all partitions takes longer than
# reading a page. Such a plan does not know the channel, expects few subscriptions of it, and would sort all of them
# before the first row.
_ONE_BY_ONE: Final = f"{PLANNED_ONCE}; SET LOCAL enable_sort = off"
_AS_BEFORE: Final = f"{PLANNED_FOR_VALUES}; SET LOCAL enable_sort = on"

_FEW: Final = 10
"""Rows that are read beyond the wanted ones, as some sessions that subscribed lately began long ago; even more are read
if many did."""

_APART: Final = timedelta(seconds=10)
"""How far the clocks of edges may be apart: a session may begin this much later than a subscription of it."""


async def newest_in_channel(
    database: Database,
    channel: str,
    at: datetime,
    statement: Callable[[datetime], tuple[str, Sequence[Any]]],
    limit: int,
    after: datetime = EVER,
    up_to: datetime | None = None,
) -> list[dict[str, Any]] | None:
    """The newest `limit` sessions that were in the channel at the moment `at`, and began after the moment `after`,
    newest first. A later page has sessions that began up to `up_to`.

    `statement` makes a statement, with its values, for the sessions that subscribed and began after a moment: its rows
    have `opened_at`, `id` and `since`, and come by `since`, newest first. It is read until no further row can belong to
    a session that began after the ones found. None if the channel has too many subscriptions for that.
    """
    await database.execute(_ONE_BY_ONE)
    beginning = max(await before_the_newest(database, channel, MANY, at), after)
    if up_to is not None and after < beginning >= up_to:
        await database.execute(_AS_BEFORE)
        return None
    sql, values = statement(beginning)
    cursor = await database.cursor(sql, *values)
    found = list[Any]()
    complete = 0
    while complete < limit and (rows := await cursor.fetch(limit - complete + _FEW + len(found) // 8)):
        found += rows
        latest = rows[-1]["since"] + _APART
        complete = sum(row["opened_at"] > latest for row in found)
    await database.execute(_AS_BEFORE)
    if len(found) < limit and beginning > after:
        return None
    found.sort(key=lambda row: (row["opened_at"], row["id"]), reverse=True)
    return [{name: value for name, value in row.items() if name != "since"} for row in found[:limit]]
