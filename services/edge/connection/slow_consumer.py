"""A client that does not take what is written to it, and how it catches up.

Nothing is queued for it: fan-out skips it, and the edge keeps only its position in the log of each of its channels.
Once its socket drains, it catches up from the ring or the log, as fast as it takes the publications.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Mapping
from typing import Any, Final, NamedTuple, Protocol

from proto import codes
from proto.messages import StreamPosition
from services.edge.broker.broker import BrokerAway, BrokerRefused
from services.edge.channels.channel import Channel
from services.edge.channels.encoding import encode_publications
from services.edge.channels.log_parts import Part
from services.edge.channels.node import Node
from services.edge.channels.subscriber import Subscriber, Untaken
from services.edge.channels.subscription import Subscription
from services.edge.tally import Tally

log = logging.getLogger(__name__)

_RETRY_S: Final = 0.2

HELD_BYTES: Final = 256 * 1024
"""Bytes of joins and leaves that wait: no log stores them, and a client that missed one would show wrong members for
good."""


class Sink(Subscriber, Protocol):
    """The outlet of a slow consumer."""

    @property
    def buffered(self) -> int:
        """Bytes that wait for the socket."""

    def write_framed(self, framed: bytes, messages: int = 1) -> None:
        """Writes framed messages."""

    def count_left_out(self, count: int) -> None:
        """Counts publications that the client's encoding cannot carry."""


class Held(NamedTuple):
    """A frame of joins and leaves of a channel that waits for a slow client, and the number of them."""

    channel: str
    framed: bytes
    events: int


class CaughtUp(NamedTuple):
    """The client has taken everything. `held` are the joins and leaves that waited."""

    held: list[Held]


class PositionLost(NamedTuple):
    """The log has evicted what the client missed in this channel, and the client relies on its position there."""

    channel: str


class SlowConsumer:
    """One client while it is slow. Made when its socket is full (`stall`), when it has missed more than one frame can
    hold (`owe`), or (`connecting`) while nothing may precede its connect reply.

    `channels` are the client's subscriptions. `close_delay_s` is how many seconds it may take nothing at all.
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
        for name, subscription in channels.items():
            position = node.delivered_position(name, subscription)
            if position is not None:
                self._positions[name] = position
        self._held: list[Held] = []
        self._held_bytes = 0
        self._task: asyncio.Task[None] | None = None
        self._labels: tuple[str, str] | None = None
        self._stalled = False  # whether its socket was full, so that it counts as slow
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._buffered = 0
        self.loses = not connecting
        self.told_at = 0.0  # since when it lags, if the session log has that
        self.give_up_at = float("inf")

    @property
    def flows(self) -> bool:
        """Whether its socket has room and it only has to catch up from logs: other pushes are written at once."""
        return self._task is not None and self._flowing.is_set()

    @property
    def held_bytes(self) -> int:
        """Bytes of joins and leaves that wait."""
        return self._held_bytes

    @property
    def connecting(self) -> bool:
        """Whether the client waits for its connect reply, and its socket has never been full."""
        return self._connecting and not self._stalled

    def labels(self) -> tuple[str, str]:
        """Transport and library of the client."""
        if self._labels is None:
            self._labels = self._sink.owner.labels()
        return self._labels

    def stall(self, now: float) -> bool:
        """The socket's buffer is full (again). From now on publications without history are lost for this client.

        Returns whether it was not slow before.
        """
        self.loses = True
        is_news = not self._stalled
        if is_news:
            self._stalled = True
            self._tally.lagged[self.labels()] += 1
        self._flowing.clear()
        self._buffered = self._sink.buffered
        self.give_up_at = now + self._close_delay_s
        return is_news

    def resume(self) -> None:
        """The socket's buffer has room."""
        self._flowing.set()
        self.give_up_at = float("inf")

    def await_connect_reply(self) -> None:
        """Delays catching up until `owe`: before that, nothing is pushed to the client."""
        self._connecting = True

    def owe(self, positions: Mapping[str, StreamPosition]) -> None:
        """The client has its reply, which brought it to these positions; it catches up from there."""
        self._connecting = False
        self._positions.update(positions)

    def offset(self, channel: str) -> int | None:
        """How far it has come in a channel that it has to catch up with."""
        position = self._positions.get(channel)
        return None if position is None else position.offset

    def hold(self, channel: str, framed: bytes, count: int) -> bool:
        """Keeps a frame of joins and leaves for later; False if there is no room for it."""
        self._held.append(Held(channel, framed, count))
        self._held_bytes += len(framed)
        return self._held_bytes <= HELD_BYTES

    def takes_something(self, now: float) -> bool:
        """Whether the client took anything since the last call. If so, `give_up_at` is `close_delay_s` from now."""
        buffered, self._buffered = self._buffered, self._sink.buffered
        if self._buffered >= buffered:
            return False
        self.give_up_at = now + self._close_delay_s
        return True

    # --- catching up -------------------------------------------------------------------------------------------------

    @property
    def may_begin(self) -> bool:
        """Whether catching up should begin now: it begins once, when the socket has room."""
        return self._task is None and not self._connecting and self._flowing.is_set()

    def begin(self, work: Coroutine[Any, Any, None]) -> None:
        """Starts the task `work`, which calls `catch_up` and acts on its result."""
        self._task = asyncio.get_running_loop().create_task(work)

    def stop(self) -> None:
        """Stops catching up, as the connection has ended."""
        if self._task is not None:
            self._task.cancel()

    async def catch_up(self) -> CaughtUp | PositionLost | Untaken:
        """Writes what the client missed, until it has caught up, or the connection has to act first.

        Call it again after `PositionLost`. Raises nothing but CancelledError.
        """
        try:
            return await self._catch_up()
        except Exception:
            log.exception("failed to bring a slow client up to date")
            return Untaken(codes.INTERNAL_CLOSE)  # it reconnects, and recovers

    async def _catch_up(self) -> CaughtUp | PositionLost | Untaken:
        while True:
            for name in tuple(self._positions):
                result = await self._catch_up_with(name)
                if result is not None:
                    return result
            # A channel may have received publications while another one caught up: done only if none has, which is
            # checked without an await.
            if self._flowing.is_set() and all(self._is_level(name) for name in self._positions):
                for name in self._positions:
                    if name in self._channels:
                        self._node.resume(name, self._sink, self._channels[name])
                if self._stalled:
                    self._tally.caught_up[self.labels()] += 1
                return CaughtUp(self._held)
            await self._flowing.wait()

    def _is_level(self, name: str) -> bool:
        position = self._node.position(name)
        return position is None or position == self._positions[name]

    async def _catch_up_with(self, name: str) -> PositionLost | None:
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
            channel, part = found
            if part is None:
                return self._give_up_on(channel, subscription)
            self._write(channel, subscription, part)
            assert channel.log is not None
            self._positions[name] = StreamPosition(part.upto, channel.log.epoch)
            if part.upto == channel.log.last:
                return None
        return None

    def _write(self, channel: Channel, subscription: Subscription, part: Part) -> None:
        """Writes a part of what was missed, in one frame, which is the same for all clients of a kind."""
        format = self._sink.format
        if subscription.filter is not None:
            wanted = [publication for publication in part.publications if subscription.wants(publication)]
            encoded = encode_publications(format, channel.name, wanted)
        else:
            encoded = part.pushes(format, channel.name, subscription.delta)
        if encoded.pushes:
            self._sink.write_framed(encoded.framed, encoded.pushes)
        if encoded.left_out:
            self._sink.count_left_out(encoded.left_out)
            subscription.delivered(False)

    def _give_up_on(self, channel: Channel, subscription: Subscription) -> PositionLost | None:
        """The missed publications were evicted. Positioned subscribers are unsubscribed (2500) and recover explicitly;
        others continue from here.
        """
        assert channel.log is not None
        if subscription.positioned:
            del self._positions[channel.name]
            return PositionLost(channel.name)
        self._positions[channel.name] = StreamPosition(channel.log.last, channel.log.epoch)
        return None
