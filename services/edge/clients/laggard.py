"""A client that does not take what is written to it, and how it is brought up again.

It is not queued for: fan-out skips it, and only its place in the log of each of its channels is kept. When its socket
drains it is given what it missed, from the ring or the log, as fast as it takes it, until it is where everybody is.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from proto import codes
from proto.codec import NotEncodable
from proto.messages import Publication, StreamPosition
from proto.publications import size_of
from services.edge.broker.broker import BrokerAway, BrokerRefused
from services.edge.channels.channel import Channel
from services.edge.channels.encoding import as_delta, encode_pushes
from services.edge.channels.recovery import Missed
from services.edge.clients.context import EdgeContext

if TYPE_CHECKING:
    from services.edge.clients.connection import Connection

log = logging.getLogger(__name__)

_RETRY_S: Final = 0.2

HELD_BYTES: Final = 256 * 1024
"""Joins and leaves that wait for a laggard: no log has them, and a client that missed one would be wrong for good."""

REPLY_BYTES: Final = 512 * 1024
"""Bytes of publications in one reply, about. Some SDKs take frames of at most 1 MiB."""


def first_of(publications: list[Publication], room: int = REPLY_BYTES) -> tuple[list[Publication], int]:
    """The publications that a reply with `room` for so many bytes may hold (one at least), and what room is left.

    No room is left exactly when there are more publications.
    """
    for count, publication in enumerate(publications):
        room -= size_of(publication)
        if room < 0 and count:
            return publications[:count], 0
    return publications, max(room, 1)


class Laggard:
    """See the module. Made when the socket's buffer is full, or (`flowing`) when one frame cannot hold what is owed.

    `loses`: what is published without history while its socket is full is missed. It is not while it still connects.
    """

    def __init__(self, connection: Connection, context: EdgeContext, flowing: bool = False, loses: bool = True) -> None:
        self.loses = loses
        self._connection = connection
        self._context = context
        self._positions: dict[str, StreamPosition] = {}
        for name in connection.client.channels:
            self.joined(name, context.node.delivered_position(name))
        self._task: asyncio.Task[None] | None = None
        self._held: list[tuple[str, bytes]] = []
        self._held_bytes = 0
        self._stalled = False  # its socket was full, so it counts
        self._flowing = asyncio.Event()
        self._buffered = 0
        self.give_up_at = float("inf")
        if flowing:
            self._flowing.set()
        else:
            self.paused()

    @property
    def flows(self) -> bool:
        """Its socket takes what is written, and only the rest of its logs is owed: all else reaches it as it comes."""
        return self._task is not None and self._flowing.is_set()

    def joined(self, name: str, position: StreamPosition | None) -> None:
        """The client has come to `position` in a channel; None for a channel without history."""
        if position is not None:
            self._positions[name] = position

    def paused(self) -> None:
        """The socket's buffer is full (again)."""
        self.loses = True
        if not self._stalled:
            self._stalled = True
            self._context.tally.lagged += 1
        self._flowing.clear()
        self._buffered = self._connection.buffered
        self.give_up_at = self._context.clock.now() + self._context.policy.section.slow_close_delay

    def hold(self, channel: str, framed: bytes) -> bool:
        """Keeps a join or leave for later; False when there is no room for it."""
        self._held.append((channel, framed))
        self._held_bytes += len(framed)
        return self._held_bytes <= HELD_BYTES

    def resumed(self) -> None:
        """The socket's buffer has room."""
        self._flowing.set()
        self.give_up_at = float("inf")
        self.begin()

    def begin(self) -> None:
        """Starts to bring the client up, if its socket takes something."""
        if self._task is None and self._flowing.is_set():
            self._task = asyncio.get_running_loop().create_task(self._bring_up())

    def takes_something(self, now: float) -> bool:
        """Whether the client took anything since this was asked last; then it has until `give_up_at` once more."""
        buffered, self._buffered = self._buffered, self._connection.buffered
        if self._buffered >= buffered:
            return False
        self.give_up_at = now + self._context.policy.section.slow_close_delay
        return True

    def stop(self) -> None:
        """The connection is gone."""
        if self._task is not None:
            self._task.cancel()

    async def _bring_up(self) -> None:
        try:
            await self._catch_up()
        except Exception:
            log.exception("a client could not be brought up again")
            self._connection.close(codes.INTERNAL_CLOSE)  # it comes back, and recovers

    async def _catch_up(self) -> None:
        while True:
            for name in tuple(self._positions):
                await self._catch_up_with(name)
            # While one channel was caught up another may have gone on: done only when none has, with no await between.
            if self._flowing.is_set() and all(self._is_level(name) for name in self._positions):
                self._context.tally.caught_up += self._stalled
                self._connection.caught_up(self._held)
                return
            await self._flowing.wait()

    def _is_level(self, name: str) -> bool:
        position = self._context.node.position(name)
        return position is None or position == self._positions[name]

    async def _catch_up_with(self, name: str) -> None:
        while name in self._positions:
            await self._flowing.wait()
            if name not in self._connection.client.channels:
                self._positions.pop(name, None)
                return
            try:
                found = await self._context.node.missed(name, self._positions[name])
            except (BrokerAway, BrokerRefused):
                await asyncio.sleep(_RETRY_S)
                continue
            if found is None:
                del self._positions[name]
                return
            if name not in self._connection.client.channels:  # ended meanwhile
                continue
            channel, missed = found
            if self._give(channel, missed):
                return

    def _give(self, channel: Channel, missed: Missed) -> bool:
        """Writes what was missed until the socket is full again. True when the client is level with the channel."""
        assert channel.log is not None
        if missed is None:
            self._give_up_on(channel)
            return True
        connection = self._connection
        subscription = channel.subscribers.get(connection)
        for publication in missed:
            if subscription is None or not subscription.wants(publication):
                continue
            try:
                whole = as_delta(connection.format, publication, None) if subscription.delta else publication
            except NotEncodable as error:
                connection.encoding_failed(str(error))
                return True
            encoded = encode_pushes(connection.format, channel.name, [whole])
            if encoded.error:
                connection.encoding_failed(encoded.error)
                return True
            connection.write_framed(encoded.framed)
            self._positions[channel.name] = StreamPosition(publication.offset, channel.log.epoch)
            if not self._flowing.is_set():
                return False
        self._positions[channel.name] = StreamPosition(channel.log.last, channel.log.epoch)
        return True

    def _give_up_on(self, channel: Channel) -> None:
        """What it missed was evicted. Who relies on positions subscribes anew and is told; others go on from here."""
        assert channel.log is not None
        subscription = channel.subscribers.get(self._connection)
        if subscription is not None and subscription.positioned:
            del self._positions[channel.name]
            self._connection.end_subscription(channel.name, codes.UNSUBSCRIBED_INSUFFICIENT_STATE)
        else:
            self._positions[channel.name] = StreamPosition(channel.log.last, channel.log.epoch)
