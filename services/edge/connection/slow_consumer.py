"""A client that does not take what is written to it, and how it catches up.

Nothing is queued for it: fan-out skips it, and only its position in the log of each of its channels is kept. Once its
socket drains it gets what it missed, from the ring or the log, as fast as it takes it, until it is level again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Mapping
from typing import Any, Final, NamedTuple, Protocol

from proto import codes
from proto.codec import NotEncodable
from proto.messages import StreamPosition
from services.edge.broker.broker import BrokerAway, BrokerRefused
from services.edge.channels.channel import Channel
from services.edge.channels.encoding import as_delta, encode_pushes
from services.edge.channels.node import Node
from services.edge.channels.recovery import Missed
from services.edge.channels.subscribers import Untaken
from services.edge.channels.subscription import Subscription
from services.edge.framing.formats import Format
from services.edge.tally import Tally

log = logging.getLogger(__name__)

_RETRY_S: Final = 0.2

HELD_BYTES: Final = 256 * 1024
"""Joins and leaves that wait: no log has them, and a client that missed one would be wrong for good."""


class Sink(Protocol):
    """What is written to: the part of an outlet that is needed here."""

    format: Format

    @property
    def buffered(self) -> int:
        """Bytes that wait for the socket."""

    def write_framed(self, framed: bytes, messages: int = 1) -> None:
        """Writes framed messages."""


class CaughtUp(NamedTuple):
    """The client has taken everything. `held` are the joins and leaves that waited, by channel."""

    held: list[tuple[str, bytes]]


class PositionLost(NamedTuple):
    """The log has evicted what the client missed in this channel, and the client relies on its position there."""

    channel: str


class SlowConsumer:
    """One client while it is slow. Made when its socket is full (`stalled`), or when one frame cannot hold what it is
    owed, or (`connecting`) while nothing may precede its connect reply.

    `channels` are the client's subscriptions. `close_delay_s` is how long it may take nothing at all.
    """

    def __init__(
        self,
        sink: Sink,
        node: Node,
        channels: Mapping[str, Subscription],
        tally: Tally,
        close_delay_s: float,
        connecting: bool = False,
    ) -> None:
        self._sink = sink
        self._node = node
        self._channels = channels
        self._tally = tally
        self._close_delay_s = close_delay_s
        self._connecting = connecting
        self._positions: dict[str, StreamPosition] = {}
        for name in channels:
            position = node.delivered_position(name)
            if position is not None:
                self._positions[name] = position
        self._held: list[tuple[str, bytes]] = []
        self._held_bytes = 0
        self._task: asyncio.Task[None] | None = None
        self._stalled = False  # its socket was full, so it counts
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._buffered = 0
        self.loses = not connecting
        self.give_up_at = float("inf")

    @property
    def flows(self) -> bool:
        """Its socket takes what is written, and only the rest of its logs is owed: all else reaches it as it comes."""
        return self._task is not None and self._flowing.is_set()

    @property
    def connecting(self) -> bool:
        """Whether the client waits for its connect reply, and its socket has never been full."""
        return self._connecting and not self._stalled

    def stall(self, now: float) -> None:
        """The socket's buffer is full (again). From now on publications without history are lost for this client."""
        self.loses = True
        if not self._stalled:
            self._stalled = True
            self._tally.lagged += 1
        self._flowing.clear()
        self._buffered = self._sink.buffered
        self.give_up_at = now + self._close_delay_s

    def resume(self) -> None:
        """The socket's buffer has room."""
        self._flowing.set()
        self.give_up_at = float("inf")

    def owe(self, positions: Mapping[str, StreamPosition]) -> None:
        """The client has its reply, which brought it to these positions; the rest is owed."""
        self._connecting = False
        self._positions.update(positions)

    def hold(self, channel: str, framed: bytes) -> bool:
        """Keeps a join or leave for later; False when there is no room for it."""
        self._held.append((channel, framed))
        self._held_bytes += len(framed)
        return self._held_bytes <= HELD_BYTES

    def takes_something(self, now: float) -> bool:
        """Whether the client took anything since this was asked last; then it has until `give_up_at` once more."""
        buffered, self._buffered = self._buffered, self._sink.buffered
        if self._buffered >= buffered:
            return False
        self.give_up_at = now + self._close_delay_s
        return True

    # --- catching up -------------------------------------------------------------------------------------------------

    @property
    def may_begin(self) -> bool:
        """Whether catching up is to begin now: once, when the socket takes something."""
        return self._task is None and not self._connecting and self._flowing.is_set()

    def begin(self, work: Coroutine[Any, Any, None]) -> None:
        """Begins `work`, which calls `catch_up` and sees to what it returns."""
        self._task = asyncio.get_running_loop().create_task(work)

    def stop(self) -> None:
        """The connection has ended."""
        if self._task is not None:
            self._task.cancel()

    async def catch_up(self) -> CaughtUp | PositionLost | Untaken:
        """Writes what the client missed, until it is level, or something has to be told to it.

        After `PositionLost` it is called again. Raises nothing but CancelledError.
        """
        try:
            return await self._catch_up()
        except Exception:
            log.exception("failed to bring a slow client up to date")
            return Untaken(codes.INTERNAL_CLOSE)  # it reconnects, and recovers

    async def _catch_up(self) -> CaughtUp | PositionLost | Untaken:
        while True:
            for name in tuple(self._positions):
                told = await self._catch_up_with(name)
                if told is not None:
                    return told
            # While one channel was caught up another may have gone on: done only when none has, with no await between.
            if self._flowing.is_set() and all(self._is_level(name) for name in self._positions):
                self._tally.caught_up += self._stalled
                return CaughtUp(self._held)
            await self._flowing.wait()

    def _is_level(self, name: str) -> bool:
        position = self._node.position(name)
        return position is None or position == self._positions[name]

    async def _catch_up_with(self, name: str) -> PositionLost | Untaken | None:
        while name in self._positions:
            await self._flowing.wait()
            if name not in self._channels:
                del self._positions[name]
                return None
            try:
                found = await self._node.missed(name, self._positions[name])
            except (BrokerAway, BrokerRefused):
                await asyncio.sleep(_RETRY_S)
                continue
            if found is None:
                del self._positions[name]
                return None
            subscription = self._channels.get(name)
            if subscription is None:  # ended meanwhile
                continue
            channel, missed = found
            if missed is None:
                return self._give_up_on(channel, subscription)
            untaken = self._write(channel, subscription, missed)
            if untaken is not None:
                return untaken
            if self._flowing.is_set():
                assert channel.log is not None
                self._positions[name] = StreamPosition(channel.log.last, channel.log.epoch)
                return None
        return None

    def _write(self, channel: Channel, subscription: Subscription, missed: Missed) -> Untaken | None:
        """Writes what was missed until the socket is full again."""
        assert channel.log is not None and missed is not None
        format = self._sink.format
        for publication in missed:
            if not subscription.wants(publication):
                continue
            try:
                whole = as_delta(format, publication, None) if subscription.delta else publication
            except NotEncodable as error:
                return Untaken.not_encodable(str(error))
            encoded = encode_pushes(format, channel.name, [whole])
            if encoded.error:
                return Untaken.not_encodable(encoded.error)
            self._sink.write_framed(encoded.framed)
            self._positions[channel.name] = StreamPosition(publication.offset, channel.log.epoch)
            if not self._flowing.is_set():
                return None
        return None

    def _give_up_on(self, channel: Channel, subscription: Subscription) -> PositionLost | None:
        """What was missed was evicted. Positioned subscribers are unsubscribed (2500), so that they recover explicitly;
        others go on from here.
        """
        assert channel.log is not None
        if subscription.positioned:
            del self._positions[channel.name]
            return PositionLost(channel.name)
        self._positions[channel.name] = StreamPosition(channel.log.last, channel.log.epoch)
        return None
