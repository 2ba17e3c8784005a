"""Looks for a message id in the log of a channel: JetStream forgets ids long before the messages that have them."""

from __future__ import annotations

import asyncio
from typing import Final

from proto.messages import StreamPosition
from proto.publications import MESSAGE_ID, removed_upto
from proto.subjects import LogAddress
from services.chassis.nats.link import NatsAway, NatsLink, header
from services.chassis.nats.stream_reads import read_stream
from services.edge.broker.broker import READ_BYTES, KeySearch, LogState

_PAGE: Final = 256
_WITHIN_S: Final = 3.0
"""Below the 5 s after which the callers of the server API over NATS give up."""
_NAME: Final = MESSAGE_ID.encode()


async def search_key(link: NatsLink, where: LogAddress, log: LogState, message_id: str, since: float) -> KeySearch:
    """See `LogIndex.search`; `log` was read just now. Raises `NatsAway`, also if the search takes longer than 3 s."""
    try:
        async with asyncio.timeout(_WITHIN_S):
            return await _search(link, where, log, message_id.encode(), since)
    except TimeoutError:
        raise NatsAway("too much is stored to look for an idempotency key in time", "timeout") from None


async def _search(link: NatsLink, where: LogAddress, log: LogState, message_id: bytes, since: float) -> KeySearch:
    # Read first: an entry that is evicted during the search must not seem to be still there.
    oldest, _ = await read_stream(link, where.stream, 1, 1)
    held, removed, upto, left = 0, False, 0, 1
    while left:
        page, left = await read_stream(
            link, where.stream, upto + 1, _PAGE, where.stored, READ_BYTES, since=0.0 if upto else since
        )
        for message in page:
            held += 1
            removed = removed or removed_upto(message.headers) > 0
            if header(message.headers, _NAME) == message_id:
                return KeySearch(StreamPosition(message.sequence, log.epoch), held, removed, unbroken=True)
        if page:
            upto = page[-1].sequence
    unbroken = log.first <= 1 or any(first.stored_at <= since for first in oldest)
    return KeySearch(None, held, removed, unbroken)
