"""Pages of a channel's log, in either direction.

The log can be read forwards only, and a channel's entries lie scattered among those of others. The newest entries are
therefore searched in windows that go back from the end. Each window is as wide as the density of the entries found so
far suggests, so that little more than the requested page is read, however long the channel's history is.
"""

from __future__ import annotations

import sys
from typing import Final

from proto.messages import Publication
from proto.publications import size_of
from services.edge.broker.broker import Broker, ChannelAddress

READ_BATCH: Final = 256
"""Entries that are read at once; fewer if they are large (`READ_BYTES` of `broker`)."""
ANY_SIZE: Final = sys.maxsize
_WINDOW: Final = 64
"""Minimum width of a window, in sequences of the log."""
_WIDER: Final = 4
"""Maximum growth from one window to the next; also the growth after a window without entries."""
_MARGIN: Final = 2
"""How many times wider a window is than needed if entries are spread evenly."""


async def page_from(
    broker: Broker, address: ChannelAddress, offset: int, limit: int, room: int = ANY_SIZE
) -> list[Publication]:
    """The first `limit` publications from `offset` on, oldest first. Raises `BrokerAway`.

    Stops reading once they take `room` bytes.
    """
    found: list[Publication] = []
    while len(found) < limit and sum(map(size_of, found)) < room:
        page = await broker.read(address, offset, min(limit - len(found), READ_BATCH))
        found.extend(entry.publication for entry in page.entries if entry.publication is not None)
        if not page.more or not page.entries:
            break
        offset = page.entries[-1].sequence + 1
    return found


async def page_before(
    broker: Broker, address: ChannelAddress, offset: int, limit: int, room: int = ANY_SIZE
) -> list[Publication]:
    """The last `limit` publications before `offset`, newest first. Raises `BrokerAway`.

    Stops reading once they take `room` bytes, give or take a window.
    """
    found: list[Publication] = []
    end, oldest = offset, 1
    width = max(_WINDOW, limit) if room == ANY_SIZE else _WINDOW
    while offset > oldest:
        start = max(oldest, offset - width)
        found += reversed(await _between(broker, address, start, offset))
        size = sum(map(size_of, found))
        if len(found) >= limit or size >= room or start == oldest:
            break
        if oldest == 1:
            oldest = await _oldest(broker, address, start)
        offset, width = start, width * _WIDER
        if found:
            missing = min(limit - len(found), (room - size) * len(found) // size + 1)
            needed = missing * (end - start) // len(found)
            width = min(width, max(_WINDOW, needed * _MARGIN))
    return found[:limit]


async def _oldest(broker: Broker, address: ChannelAddress, before: int) -> int:
    """The first sequence of the channel's log; `before` if it has no entry before that."""
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
