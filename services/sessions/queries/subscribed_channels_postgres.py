"""Channels by their subscribers now, page by page."""

from __future__ import annotations

from typing import Final

from services.chassis.postgres.pool import Pool
from services.sessions.queries.channels_postgres import ChannelUse
from services.sessions.queries.places import ChannelPlace

# In the order of the index channels_by_subscribers.
_PAGE: Final = """
SELECT name AS channel, subscribers, peak, peak_at, NULL::timestamptz AS peak_hour, subscriptions FROM channels
{after} ORDER BY subscribers DESC, name DESC LIMIT $1"""
_FIRST_PAGE: Final = _PAGE.format(after="")
_NEXT_PAGE: Final = _PAGE.format(after="WHERE (subscribers, name) < ($2, $3)")


class SubscribedChannels:
    """Asks for channels in the order of their subscribers."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def page(self, limit: int, after: ChannelPlace | None = None) -> list[ChannelUse]:
        """Up to `limit` channels, those with most subscribers first, with their peaks of all time, from the place
        `after` on."""
        async with self._pool.database() as database:
            if after is None:
                rows = await database.fetch(_FIRST_PAGE, limit)
            else:
                rows = await database.fetch(_NEXT_PAGE, limit, after.subscribers, after.name)
        return [ChannelUse(**row) for row in rows]
