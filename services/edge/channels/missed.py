"""Finds what a client missed: a client that subscribes with its position, or a slow one that was skipped.

The ring answers if it reaches back that far. Otherwise the client gets the log part by part (`log_parts`), and shares
each part with the others.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Final, NamedTuple

from proto.messages import Publication, StreamPosition
from proto.publications import size_of
from services.edge.broker.broker import Broker, Retained
from services.edge.channels.channel import Channel
from services.edge.channels.channel_log import ChannelLog
from services.edge.channels.log_parts import LogParts, Part
from services.edge.channels.recovery import Missed, Syncing, reach
from services.edge.turn_queue import TurnQueue

FIRST_BYTES: Final = 64 * 1024
"""Missed publications that a subscribe reply holds, give or take a part. The others follow as pushes, at the pace of
the client: a storm of subscribes must not fill the memory with replies."""

_AT_ONCE: Final = 8
"""Clients that get a part of what they missed in one turn of the event loop: about a millisecond."""


class Recovered(NamedTuple):
    """The publications that were missed, exactly up to `upto`."""

    publications: list[Publication]
    upto: int


def recover_from_ring(log: ChannelLog, since: StreamPosition, limit: int, retained: Retained, now: float) -> Missed:
    """All that was missed, from the ring only. None means that the ring is not enough, not that recovery failed.

    `now` is a time of the event loop's clock, as the ring uses it.
    """
    if (since.epoch and since.epoch != log.epoch) or since.offset < min(retained.since, log.last):
        return None
    missed = log.after(since.offset, retained.size, now - retained.ttl_s)
    if missed is None or (missed and missed[0].offset < retained.first) or (limit and len(missed) > limit):
        return None
    return missed


class MissedPublications:
    """Finds what clients missed, for many of them at once."""

    def __init__(self, broker: Broker, syncing: Syncing, parts: LogParts) -> None:
        self._broker = broker
        self._syncing = syncing
        self._parts = parts
        self._subscribes = TurnQueue(_AT_ONCE)
        self._slow_ones = TurnQueue(_AT_ONCE)

    async def recover(self, channel: Channel, since: StreamPosition, limit: int) -> Recovered | None:
        """What a subscriber missed after `since`, or the beginning of it; None without proof that nothing is missing.

        It is either all, up to exactly `channel.log.last` as it is on return, or about `FIRST_BYTES`. Also None if more
        than `limit` publications were missed; 0: no limit. Raises `BrokerAway`.
        """
        log = channel.log
        assert log is not None
        epoch = log.epoch
        if since.epoch and since.epoch != epoch:
            since = self._broker.continued(channel.address, since)
            if since.epoch != epoch:
                return None
        reached = await reach(self._broker, self._syncing, channel, since.offset)
        if not reached or log.epoch != epoch:
            return None
        now = asyncio.get_running_loop().time()
        from_ring = recover_from_ring(log, since, 0, self._broker.index.retained(channel.address), now)
        if from_ring is None and not await self._parts.proven(channel, epoch, since.offset):
            return None
        if since.offset > log.last:  # the stream came so far by other channels: this one has nothing in between
            return Recovered([], log.last)
        found = _Found(limit, since.offset)
        while True:
            part = await self._next(self._subscribes, channel, epoch, since.offset, found.read_upto)
            if part is None or (part.removed > since.offset):
                return None
            if not found.add(part):
                return None
            if found.read_upto == log.last or (found.is_enough and not limit):
                return Recovered(found.publications, found.upto)

    async def next_part(self, channel: Channel, since: StreamPosition) -> Part | None:
        """The next part for a client that has everything up to `since`; None without proof that nothing lies between.

        The part ends at `channel.log.last` at the latest. Exact until the next await. Raises `BrokerAway`.
        """
        log = channel.log
        assert log is not None
        if since.epoch != log.epoch or (
            since.offset > log.last and not await reach(self._broker, self._syncing, channel, since.offset)
        ):
            return None
        if since.offset > log.last:
            return Part(since.offset, log.last, []) if since.epoch == log.epoch else None
        return await self._next(self._slow_ones, channel, since.epoch, since.offset, since.offset)

    async def _next(self, turns: TurnQueue, channel: Channel, epoch: str, since: int, offset: int) -> Part | None:
        log = channel.log
        assert log is not None
        while True:
            await turns.turn()
            if log.epoch != epoch or since < log.removed:
                return None
            tail = self._parts.ring_after(channel, offset)
            if tail is not None:
                return Part(offset, log.last, tail)
            part = self._parts.known(channel, epoch, offset)
            if part is not None:
                return part.between(offset, log.last)
            if not await self._parts.read(channel, epoch, offset):
                return None


class _Found:
    """What a subscribe has read so far: the log up to `read_upto`, and the publications up to `upto` for the reply."""

    def __init__(self, limit: int, offset: int) -> None:
        self._left = limit or sys.maxsize
        self._size = 0
        self.publications: list[Publication] = []
        self.upto = self.read_upto = offset

    @property
    def is_enough(self) -> bool:
        """Whether the reply is full."""
        return self._size >= FIRST_BYTES

    def add(self, part: Part) -> bool:
        """Adds a part. Returns false if there are more publications than the limit."""
        self.read_upto = part.upto
        self._left -= len(part.publications)
        if not self.is_enough:
            self.publications += part.publications
            self.upto = part.upto
            self._size += sum(map(size_of, part.publications))
        return self._left >= 0
