"""Pages of a channel's log, in either direction.

The log is read forwards only, and a channel's entries lie scattered among those of others. So the newest ones are
looked for in windows that end where the one before began, and are as wide as what was found so far promises: a channel
is read a little beyond what was asked for, however much it keeps.
"""

from __future__ import annotations

from typing import Final

from proto.messages import Publication
from services.edge.broker.broker import Broker, ChannelAddress

READ_BATCH: Final = 256
_WINDOW: Final = 64
"""Places of the log that the first window has at the least."""
_WIDER: Final = 4
"""How much wider the next one is at the most; so it is when nothing was found."""
_MARGIN: Final = 2
"""How much wider than it needs to be where entries lie evenly."""


async def page_from(broker: Broker, address: ChannelAddress, offset: int, limit: int) -> list[Publication]:
    """The first `limit` publications from `offset` on, oldest first. Raises `BrokerAway`."""
    found: list[Publication] = []
    while len(found) < limit:
        page = await broker.read(address, offset, min(limit - len(found), READ_BATCH))
        found.extend(entry.publication for entry in page.entries if entry.publication is not None)
        if not page.more or not page.entries:
            break
        offset = page.entries[-1].sequence + 1
    return found


async def page_before(broker: Broker, address: ChannelAddress, offset: int, limit: int) -> list[Publication]:
    """The last `limit` publications before `offset`, newest first. Raises `BrokerAway`."""
    found: list[Publication] = []
    end, oldest, width = offset, 1, max(_WINDOW, limit)
    while offset > oldest:
        start = max(oldest, offset - width)
        found += reversed(await _between(broker, address, start, offset))
        if len(found) >= limit or start == oldest:
            break
        if oldest == 1:
            oldest = await _oldest(broker, address, start)
        offset, width = start, width * _WIDER
        if found:
            needed = (limit - len(found)) * (end - start) // len(found)
            width = min(width, max(_WINDOW, needed * _MARGIN))
    return found[:limit]


async def _oldest(broker: Broker, address: ChannelAddress, before: int) -> int:
    """Where the channel's log begins; `before` when there is nothing before that."""
    page = await broker.read(address, 1, 1)
    return min(before, page.entries[0].sequence) if page.entries else before


async def _between(broker: Broker, address: ChannelAddress, start: int, end: int) -> list[Publication]:
    """All publications from `start` up to before `end`, oldest first."""
    found: list[Publication] = []
    while start < end:
        page = await broker.read(address, start, min(end - start, READ_BATCH))
        inside = [entry for entry in page.entries if entry.sequence < end]
        found.extend(entry.publication for entry in inside if entry.publication is not None)
        if not page.more or not inside or len(inside) < len(page.entries):
            break
        start = page.entries[-1].sequence + 1
    return found
