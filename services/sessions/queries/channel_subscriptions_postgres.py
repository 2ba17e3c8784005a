"""How far back a channel's newest subscriptions reach.

A search for sessions in a channel looks up the sessions of its newest subscriptions first, then of more of them: in a
busy channel a few hundred fill a page, and a quiet channel has no more than that.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

from services.chassis.postgres.pool import Database
from services.sessions.queries.reaches import EVER

MANY: Final = 20_000
"""The most subscriptions of a channel that are looked up. If more were needed, a search goes through all sessions
instead: many of them were in the channel."""

_NTH: Final = """
SELECT since FROM subscriptions WHERE channel = $1 AND since <= $2 ORDER BY since DESC OFFSET $3 LIMIT 1"""
_HAS_MORE: Final = """
SELECT count(*) > $3 FROM (SELECT FROM subscriptions WHERE channel = $1 AND since > $2 LIMIT $3 + 1) AS counted"""


async def before_the_newest(database: Database, channel: str, number: int, up_to: datetime) -> datetime:
    """When the last subscription before the newest `number` up to this moment began; `EVER` if there are no more."""
    return await database.fetchval(_NTH, channel, up_to, number) or EVER


async def has_many_since(database: Database, channel: str, since: datetime, many: int) -> bool:
    """Whether more than `many` subscriptions began after this moment, so that they are too many to look up."""
    return bool(await database.fetchval(_HAS_MORE, channel, since, many))
