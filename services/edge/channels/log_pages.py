"""Pages of a channel's log, in either direction.

The log can be read forwards only, and a channel's entries lie scattered among those of others. The newest entries are
therefore searched in windows that go back from the end. Each window is as wide as the density of the entries found so
far suggests, so that little more than the requested page is read, however long the channel's history is.
"""

from __future__ import annotations

from typing import Final

from proto.messages import Publication
from services.edge.broker.broker import Broker, ChannelAddress

READ_BATCH: Final = 256
"""Entries that are read at once."""
_WINDOW: Final = 64
"""Minimum width of a window, in sequences of the log."""
_WIDER: Final = 4
"""Maximum growth from one window to the next; also the growth after a window without entries."""
_MARGIN: Final = 2
"""How many times wider a window is than it needs to be if entries lie evenly."""


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
