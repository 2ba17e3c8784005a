"""Pages of a channel's log, in either direction.

The log is read forwards only, and a channel's entries lie scattered among those of others. So the newest ones are
looked for in windows that end where the one before began, each four times as wide: a busy channel is read a little
beyond what was asked for, a quiet one costs a handful of reads, however much either of them keeps.
"""

from __future__ import annotations

from typing import Final

from proto.messages import Publication
from services.edge.broker.broker import Broker, ChannelAddress

READ_BATCH: Final = 256
_WINDOW: Final = 64
"""Places of the log that the first window has at the least."""
_WIDER: Final = 4


async def page_from(broker: Broker, address: ChannelAddress, offset: int, limit: int) -> list[Publication]:
    """The first `limit` publications from `offset` on, oldest first. Raises `BrokerAway`."""
    found: list[Publication] = []
    while len(found) < limit:
        stretch = await broker.read(address, offset, min(limit - len(found), READ_BATCH))
        found.extend(entry.publication for entry in stretch.entries if entry.publication is not None)
        if not stretch.more or not stretch.entries:
            break
        offset = stretch.entries[-1].sequence + 1
    return found


async def page_before(broker: Broker, address: ChannelAddress, offset: int, limit: int) -> list[Publication]:
    """The last `limit` publications before `offset`, newest first. Raises `BrokerAway`."""
    found: list[Publication] = []
    width = max(_WINDOW, limit)
    while offset > 1 and len(found) < limit:
        start = max(1, offset - width)
        found += reversed(await _between(broker, address, start, offset))
        offset, width = start, width * _WIDER
    return found[:limit]


async def _between(broker: Broker, address: ChannelAddress, start: int, end: int) -> list[Publication]:
    """All publications from `start` up to before `end`, oldest first."""
    found: list[Publication] = []
    while start < end:
        stretch = await broker.read(address, start, min(end - start, READ_BATCH))
        inside = [entry for entry in stretch.entries if entry.sequence < end]
        found.extend(entry.publication for entry in inside if entry.publication is not None)
        if not stretch.more or len(inside) < len(stretch.entries):
            break
        start = stretch.entries[-1].sequence + 1
    return found
