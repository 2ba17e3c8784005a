"""Writes to one client: encode, frame, write, count. It knows whether the client is slow.

An outlet closes nothing. It returns an `Untaken` to its caller if the client cannot take a push or reply.
"""

from __future__ import annotations

from typing import Final, Protocol

from proto import codes
from proto.codec import NotEncodable
from proto.codes import CloseCode
from proto.replies import Reply
from services.edge.channels.subscriber import SKIPPED, Owner, Untaken
from services.edge.channels.subscription import Subscription
from services.edge.connection.registry import Lag
from services.edge.connection.slow_consumer import SlowConsumer
from services.edge.framing.formats import Format
from services.edge.session.command_kinds import answered_by
from services.edge.tally import Tally

JOINED_BYTES: Final = 64 * 1024
"""Replies of one step share a frame up to this size."""


class Transport(Protocol):
    """What a connection writes to: the part of `asyncio.Transport` that it needs."""

    def write(self, data: bytes, /) -> None: ...
    def get_write_buffer_size(self) -> int: ...
    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...
    def is_closing(self) -> bool: ...
    def close(self) -> None: ...
    def abort(self) -> None: ...


class _Gone:
    """The transport of a connection that is gone."""

    def write(self, data: bytes, /) -> None:
        pass

    def get_write_buffer_size(self) -> int:
        return 0

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass

    def is_closing(self) -> bool:
        return True

    def close(self) -> None:
        pass

    def abort(self) -> None:
        pass


_GONE: Final = _Gone()


class Outlet:
    """A connection as channels see it (see `subscriber.Subscriber`). `owner` is that connection.

    `slow` is set while the client does not take what is written, or has to catch up first. `closed`: nothing is written
    any more. `messages_out` and `bytes_out` count what was written to this client.
    """

    __slots__ = (
        "_pending",
        "_pending_bytes",
        "_tally",
        "bytes_out",
        "closed",
        "format",
        "messages_out",
        "owner",
        "slow",
        "transport",
    )

    def __init__(self, owner: Owner, transport: Transport, format: Format, tally: Tally) -> None:
        self.owner = owner
        self.format = format
        self.closed = False
        self.slow: SlowConsumer | None = None
        self.transport = transport
        self._tally = tally
        self._pending: list[bytes] | None = None  # replies of this step
        self._pending_bytes = 0
        self.messages_out = self.bytes_out = 0

    # --- pushes of channels ------------------------------------------------------------------------------------------

    def push(self, framed: bytes, subscription: Subscription, count: int) -> Untaken | None:
        """Writes a frame of `count` pushes (see `subscriber.Subscriber`)."""
        if self.closed or (self.slow is not None and not self._takes(self.slow, subscription)):
            return self._untaken(subscription, count)
        self.transport.write(framed)
        tally, size = self._tally, len(framed)
        tally.messages_out += count
        tally.bytes_out += size
        self.messages_out += count
        self.bytes_out += size
        return None

    def _takes(self, slow: SlowConsumer, subscription: Subscription) -> bool:
        """Whether to write a push to a slow client: its socket has room, and no log could deliver this push later."""
        return slow.flows and not subscription.rules.has_history

    def _untaken(self, subscription: Subscription, count: int) -> Untaken:
        """A slow client catches up from the log later; without history, it loses the push or is closed."""
        slow = self.slow
        if self.closed or slow is None or subscription.rules.has_history or not slow.loses:
            return SKIPPED
        if subscription.rules.options.slow_client == "drop":
            self._tally.dropped[slow.labels()] += count
            return SKIPPED
        return Untaken(codes.SLOW, "the client does not take the publications of its channels")

    def push_member_events(self, channel: str, framed: bytes, count: int) -> Untaken | None:
        """Writes a frame of `count` joins and leaves, or holds it for a slow client."""
        if self.closed:
            return SKIPPED
        if self.slow is None:
            self.write_framed(framed, count)
            return None
        if self.slow.hold(channel, framed, count):
            return None
        return Untaken(codes.SLOW, "the client does not take joins and leaves")

    def left_out(self, count: int) -> None:
        """Counts pushes that the client's encoding cannot carry; for a slow client, they count when it catches up."""
        if self.slow is None:
            self.count_left_out(count)

    def count_left_out(self, count: int) -> None:
        """Counts publications that the client's encoding cannot carry."""
        if not self.closed:
            self._tally.left_out += count

    # --- replies and pushes for this client alone --------------------------------------------------------------------

    def send(self, reply: Reply) -> Untaken | None:
        """Encodes a reply or push. The next `flush` writes it, in one frame with the others of its step."""
        if self.closed:
            return SKIPPED
        if reply.error is not None:
            self._tally.errors[reply.error.code] += 1
        elif reply.push is None or reply.push.connect is not None:
            self._tally.commands[answered_by(reply)] += 1
        try:
            message = self.format.encode(reply)
        except NotEncodable:
            return self._send_what_it_carries(reply)
        self._send(message)
        return None

    def _send_what_it_carries(self, reply: Reply) -> Untaken | None:
        rest, left_out = self.format.codec.without_uncarried(reply)
        self.count_left_out(left_out)
        if rest is not None:
            try:
                self._send(self.format.encode(rest))
            except NotEncodable as error:  # a number that does not fit its field, in no publication
                return Untaken(codes.INAPPROPRIATE_PROTOCOL, str(error))
        return None

    def _send(self, message: bytes) -> None:
        if self._pending_bytes + len(message) > JOINED_BYTES:
            self.flush()
        if self._pending is None:
            self._pending = []
        self._pending.append(message)
        self._pending_bytes += len(message)

    def flush(self) -> None:
        """Writes the replies and pushes that were sent."""
        messages = self._pending
        if messages is not None:
            self._pending, self._pending_bytes = None, 0
            self.write_framed(self.format.frame(messages), len(messages))

    def write_framed(self, framed: bytes, messages: int = 1) -> None:
        """Writes bytes that hold this number of framed messages."""
        if not self.closed:
            self._tally.messages_out += messages
            self._tally.bytes_out += len(framed)
            self.messages_out += messages
            self.bytes_out += len(framed)
            self.transport.write(framed)

    def ping(self, native: bool) -> None:
        """Writes a ping of the protocol, or (`native`) of the WebSocket."""
        if native:
            self.transport.write(self.format.native_ping)
        else:
            self.write_framed(self.format.ping)

    def write_farewell(self, close: CloseCode) -> bool:
        """Writes what was sent, then the close code and its reason. Returns whether the peer will answer.

        3000 is never written: it means that the peer is gone, as with Centrifugo.
        """
        self.flush()
        if close.code == codes.CONNECTION_CLOSED.code:
            return False
        self.transport.write(self.format.farewell(close))
        return self.format.answers_close

    # --- the client's pace -------------------------------------------------------------------------------------------

    @property
    def buffered(self) -> int:
        """Bytes that wait for the socket."""
        return self.transport.get_write_buffer_size()

    @property
    def lag(self) -> Lag:
        """How far the client is behind."""
        slow = self.slow
        if slow is None or slow.connecting:
            return Lag(False, self.buffered)
        return Lag(True, self.buffered + slow.held_bytes)

    def hold_back(self, slow: SlowConsumer) -> None:
        """Marks the client as slow: it does not take what is written, or has to catch up first."""
        self.slow = slow

    def release(self) -> None:
        """Makes the client an ordinary subscriber again."""
        self.slow = None

    def close(self) -> None:
        """Stops all writing, and discards what was sent and not flushed."""
        self.closed = True
        self._pending = None

    def part(self) -> None:
        """Drops the references to a connection that is gone.

        Outlet and connection refer to each other, and some transports to the connection. Without this, all of them
        would stay in memory until a full run of the garbage collector.
        """
        self.slow = None
        self.transport = _GONE
        del self.owner
