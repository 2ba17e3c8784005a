"""How far back a channel's newest subscriptions reach.

A search for sessions in a channel looks up those of its newest subscriptions first, then of more of them: a busy
channel has a page of answers in a few hundred, and one of few has no more than that.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

from services.chassis.postgres.pool import Database
from services.sessions.queries.reaches import EVER

MANY: Final = 20_000
"""Subscriptions of a channel that are looked up at the most. Where more are wanted, a search goes through all sessions
instead: the channel is in many of them."""

_NTH: Final = """
SELECT since FROM subscriptions WHERE channel = $1 AND since <= $2 ORDER BY since DESC OFFSET $3 LIMIT 1"""
_HAS_MORE: Final = """
SELECT count(*) > $3 FROM (SELECT FROM subscriptions WHERE channel = $1 AND since > $2 LIMIT $3 + 1) AS counted"""


async def before_the_newest(database: Database, channel: str, number: int, up_to: datetime) -> datetime:
    """When the one before the newest `number` subscriptions up to this moment began; `EVER` if there are no more."""
    return await database.fetchval(_NTH, channel, up_to, number) or EVER


async def has_many_since(database: Database, channel: str, since: datetime, many: int) -> bool:
    """Whether more than `many` subscriptions began after this moment: then they are too many to be looked up."""
    return bool(await database.fetchval(_HAS_MORE, channel, since, many))
