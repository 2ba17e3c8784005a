"""How many partitions a history class has, as the metadata of any of its streams says."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection
from typing import Final

from services.chassis.nats.link import NatsAway, NatsLink
from services.chassis.nats.streams import StreamState, stream_state

log = logging.getLogger(__name__)

PARTITIONS_KEY: Final = "fairlead-partitions"


def count_in(state: StreamState | None) -> int:
    """The count in a stream's metadata; 0 if it has none, or there is no stream."""
    told = "" if state is None else state.metadata.get(PARTITIONS_KEY, "")
    return int(told) if told.isdecimal() else 0


def warn_of_kept(history_class: str, kept: int, wanted: int) -> None:
    """Logs that a class keeps its number of partitions."""
    log.warning(
        "namespace %s keeps the %d partitions that its streams were made with; channel.history_partitions = %d "
        "holds for new namespaces only",
        history_class,
        kept,
        wanted,
    )


async def count_told_by(link: NatsLink, streams: Collection[str], timeout_s: float) -> int:
    """The count that the first of these streams to answer says; 0 if none answers in time."""

    async def told_by(stream: str) -> int:
        try:
            return count_in(await stream_state(link, stream, timeout_s))
        except NatsAway:
            return 0

    asked = [asyncio.ensure_future(told_by(stream)) for stream in streams]
    try:
        for told in asyncio.as_completed(asked):
            if count := await told:
                return count
    finally:
        for each in asked:
            each.cancel()
    return 0
