"""One client's connection, whatever its transport: it does what the client's state machine decides.

Commands of one connection are carried out one after the other; while one waits for the cluster the next ones queue up,
and so do the orders of backends. Everything that leaves does so by one ordered path, the transport. A transport is a
WebSocket (`websocket`) or an HTTP stream (`http_streams`); it hands in messages and tells when it is full or gone. What
has to be awaited is in `performer`.
"""

from __future__ import annotations

import uuid
from collections import deque
from random import random
from typing import Final, Protocol

from proto import codes
from proto.codec import BadFrame, NotEncodable
from proto.codec_json import decode_connect
from proto.codes import CloseCode, UnsubscribeCode
from proto.commands import Command
from proto.events import Closed, Opened, Subscribed, Unsubscribed
from proto.messages import StreamPosition
from proto.replies import AsyncMessage, Push, Refresh, Reply, SubscribeResult, reply_to
from proto.replies import Unsubscribe as UnsubscribePush
from services.edge.channels.subscription import Subscription
from services.edge.clients.actions import (
    Action,
    Answer,
    AskHook,
    AttachRequest,
    Close,
    Connected,
    EndSubscription,
    Nothing,
    Performed,
    Ping,
    SendToBackend,
    Unsubscribe,
)
from services.edge.clients.client import Client, State
from services.edge.clients.context import EdgeContext
from services.edge.clients.entrance import connect_reply, enter, subscribed
from services.edge.clients.laggard import Laggard
from services.edge.clients.orders import MessageOrder, Order, RefreshOrder, SubscribeOrder, UnsubscribeOrder
from services.edge.clients.performer import Performer
from services.edge.framing.formats import Format
from services.edge.framing.wire import ABNORMAL
from services.edge.grants import seconds_left

QUEUED_BYTES_LIMIT: Final = 128 * 1024
"""Bytes of commands behind one in progress; with more waiting the client is not read from."""

QUEUED_BYTES_CEILING: Final = 512 * 1024
"""With more the client is closed. A WebSocket that is not read from stays below; an HTTP stream's commands come on."""

QUEUED_ORDERS_LIMIT: Final = 1024
"""Orders of backends that wait for a client that does not read; with more it is closed as slow."""

CLOSE_TIMEOUT_S: Final = 2.0
"""How long the peer may take to answer our close frame before the socket is cut."""


class Transport(Protocol):
    """What a connection writes to: the part of `asyncio.Transport` that it needs."""

    def write(self, data: bytes, /) -> None: ...
    def get_write_buffer_size(self) -> int: ...
    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...
    def is_closing(self) -> bool: ...
    def close(self) -> None: ...
    def abort(self) -> None: ...


class Connection:
    """See the module. Made when the transport is open; `session` names it in requests that are not its stream's."""

    __slots__ = (
        "__weakref__",
        "_leaving",
        "_open",
        "_performer",
        "_queue",
        "_queued_bytes",
        "_queued_orders",
        "_reading_paused",
        "_transport",
        "client",
        "closing",
        "context",
        "format",
        "laggard",
        "session",
        "wheel_tick",
    )

    def __init__(self, context: EdgeContext, transport: Transport, format: Format, session: str = "") -> None:
        self.context = context
        self.format = format
        self.session = session
        self.closing = False  # nothing is sent any more
        self.laggard: Laggard | None = None  # while the client does not take what we write
        self.wheel_tick = 0
        self._transport = transport
        self._performer: Performer | None = None  # the command in progress
        self._queue: deque[Command | Order] | None = None  # what comes behind the one in progress
        self._queued_bytes = 0  # of the messages that commands came in, counted until the queue is empty
        self._queued_orders = 0
        self._open = False  # the beginning of its session is written down
        self._leaving: CloseCode | None = None  # to be closed once the command in progress is done
        self._reading_paused = False
        self.client = Client(str(uuid.uuid4()), context.policy, format, context.clock.now(), random())
        context.tally.accepted += 1
        context.connections.add(self)
        context.timing_wheel.add(self, self.client.deadline)

    # --- what the transport tells ------------------------------------------------------------------------------------

    def message_received(self, message: bytes) -> None:
        """A frame of commands."""
        if self.closing:
            return
        section = self.context.policy.section
        try:
            commands = self.format.codec.decode_commands(message, section.commands_per_message)
        except BadFrame as error:
            self.close(codes.BAD_REQUEST_CLOSE, str(error))
            return
        self.commands_received(commands, len(message))

    def commands_received(self, commands: list[Command], size: int) -> None:
        """Commands that came in a message of `size` bytes."""
        if self.closing:
            return
        self.context.tally.messages_in += len(commands)
        if self._queue is None:
            self._queue = deque(commands)
        else:
            self._queue.extend(commands)
        self._queued_bytes += size
        if (
            len(self._queue) > self.context.policy.section.queued_commands_limit + self._queued_orders
            or self._queued_bytes > QUEUED_BYTES_CEILING
        ):
            self.close(codes.TOO_MANY_REQUESTS_CLOSE, "too many commands are waiting")
            return
        self.work_off()

    def connect_alone(self, message: bytes) -> None:
        """The one thing that a client says on a unidirectional transport: a `ConnectRequest` in JSON, "" for none."""
        if self.closing or self.client.state is not State.NEW or self._performer is not None:
            return
        try:
            command = Command(id=1, connect=decode_connect(message))
        except BadFrame as error:
            self.close(codes.BAD_REQUEST_CLOSE, str(error))
            return
        self.commands_received([command], len(message))

    def lost(self) -> None:
        """The transport is gone."""
        self.context.timing_wheel.remove(self)
        self.context.connections.discard(self)
        if not self.closing:
            self._end(ABNORMAL, codes.CONNECTION_CLOSED.reason)
        if self.laggard is not None:
            self.laggard.stop()
            self.laggard = None

    def pause_writing(self) -> None:
        """The transport is full. Called inside of a write: from here on fan-out skips this client.

        What it sends is not read either, so that nothing piles up. Its place in each channel is where the log stands.
        """
        if self.closing:
            return
        if self.laggard is None:
            self.laggard = Laggard(self, self.context)
        else:
            self.laggard.paused()
        self.context.timing_wheel.add(self, self._next_time())
        self._pace_reading()

    def resume_writing(self) -> None:
        """The transport has room again."""
        if self.laggard is not None:
            self.laggard.resumed()

    # --- in ----------------------------------------------------------------------------------------------------------

    def obey(self, order: Order) -> None:
        """Carries out what a backend ordered, behind the commands that wait."""
        if self.closing or self.client.state is not State.CONNECTED:
            return
        if self._queued_orders >= QUEUED_ORDERS_LIMIT:
            self.close(codes.SLOW, "too many orders of backends are waiting")
            return
        if self._queue is None:
            self._queue = deque()
        self._queue.append(order)
        self._queued_orders += 1
        self.work_off()

    def work_off(self) -> None:
        """Carries out what is queued, up to the first command that has to wait for the cluster.

        Nothing is carried out for a laggard: its replies would pile up. Reading is paused too, so the queue ends.
        """
        out: list[bytes] = []
        while self._queue and self._performer is None and not self.closing and self.laggard is None:
            item = self._queue.popleft()
            if isinstance(item, Command):
                self._queued_bytes -= self._queued_bytes // (len(self._queue) + 1)  # its share
                action = self.client.handle(item, self.context.clock.now())
            else:
                self._queued_orders -= 1
                self._write(out)
                out = []
                self._carry_out_order(item)
                continue
            if isinstance(action, Connected):
                self.admitted()  # now: the next connect of its user counts it
            if isinstance(action, Connected) and not action.attach_requests:
                self.opened()
                out.append(self.encode(connect_reply(self, action, {})))
            elif (
                isinstance(action, AttachRequest)
                and (result := self.context.node.subscribe_now(self, action)) is not None
            ):
                if result.publications or action.subscription.emits_join_leave:
                    self._write(out)  # its own join must not precede its reply, nor a large one wait for others
                    out = []
                    subscribed(self, action, result)
                else:  # in one write with the reply to its connect, mostly
                    out.append(self.encode(reply_to(action.command_id, enter(self, action, result))))
                    self.entered(action.channel, action.subscription, result)
            elif isinstance(action, Performed):
                self.perform(action)
            else:
                self.carry_out(action, out)
        if not self._queue:
            self._queue, self._queued_bytes = None, 0
        self._write(out)
        if self.laggard is not None and self._performer is None:
            self.laggard.begin()  # a reply could not hold all that was missed
        self._pace_reading()

    def carry_out(self, action: Action, out: list[bytes]) -> None:
        """Does what needs nobody else, and adds the reply to `out`."""
        match action:
            case Answer(reply, detail):
                if reply.error is not None and detail:
                    self.tell_refusal(reply.error.code, reply.error.message, detail)
                out.append(self.encode(reply))
                if reply.refresh is not None or reply.sub_refresh is not None:
                    self.context.timing_wheel.add(self, self._next_time())  # it may expire sooner than before
            case Unsubscribe(channel, reply):
                self.context.node.flush((channel,))
                self.leave(channel)
                self.context.record(Unsubscribed(at=self.context.now_ms(), connection=self.client.id, channel=channel))
                out.append(self.encode(reply))
            case SendToBackend(data):
                self.context.send_to_backend(self.client.caller, bytes(data))
            case Close(close, detail):
                self._write(out)
                out.clear()
                self.close(close, detail)
            case Nothing():
                pass

    def _carry_out_order(self, order: Order) -> None:
        if self.client.state is not State.CONNECTED:  # its connect failed after all
            return
        self.context.node.flush(self.client.channels)  # what was published before it comes before it
        match order:
            case SubscribeOrder():
                self.perform(order)
            case UnsubscribeOrder(channel, why):
                for name in (channel,) if channel else tuple(self.client.channels):
                    self.end_subscription(name, why)
            case RefreshOrder(expires_at, info):
                self.client.prolong(expires_at, info)
                ttl = seconds_left(expires_at, self.context.clock.now())
                self.push_alone(Push(refresh=Refresh(expires=ttl > 0, ttl=ttl)))
                self.context.timing_wheel.add(self, self._next_time())
            case MessageOrder(data):
                self.push_alone(Push(message=AsyncMessage(data)))

    def perform(self, action: Performed | SubscribeOrder) -> None:
        """Begins what has to wait; the commands behind it wait too."""
        self._performer = Performer(self, action)

    def performed(self) -> None:
        """What had to wait is done, and its reply is written."""
        self._performer = None
        if self.closing:
            return
        if self.laggard is not None:
            self.laggard.begin()
        if self._leaving is not None:
            self.close(self._leaving)
        else:
            self.work_off()

    def _pace_reading(self) -> None:
        """Stops reading from a client that has much waiting or that does not read itself, goes on when it may."""
        limit = self.context.policy.section.queued_commands_limit // 2
        queued = 0 if self._queue is None else len(self._queue) - self._queued_orders
        pause = self.laggard is not None or queued > limit or self._queued_bytes > QUEUED_BYTES_LIMIT
        if pause != self._reading_paused and not self._transport.is_closing():
            self._reading_paused = pause
            if pause:
                self._transport.pause_reading()
            else:
                self._transport.resume_reading()

    # --- coming and going --------------------------------------------------------------------------------------------

    def admitted(self) -> None:
        """The client is authenticated: it counts as its user's, and backends may give it orders."""
        self.context.users.add(self.client.identity.user, self)

    def opened(self) -> None:
        """Its session begins."""
        client, context = self.client, self.context
        self._open = True
        context.timing_wheel.add(self, self._next_time())  # the first ping may be due before the stale check was
        context.record(
            Opened(
                at=context.now_ms(),
                connection=client.id,
                user=client.identity.user,
                session_key=client.identity.session_key,
                client_name=client.name,
                client_version=client.version,
            )
        )

    def refused(self) -> None:
        """Its connect was answered with an error: the client is expected to leave."""
        if self.closing:
            return
        self.client.state = State.REFUSED
        self.context.users.remove(self.client.identity.user, self)
        self.context.timing_wheel.add(self, self._next_time())

    def entered(self, channel: str, subscription: Subscription, result: SubscribeResult) -> None:
        """The client is subscribed, and its reply is written."""
        if self.closing:  # the reply was one that it cannot take
            return
        self.context.node.joined(channel, subscription)
        if subscription.expires_at:
            self.context.timing_wheel.add(self, self._next_time())
        self.context.record(
            Subscribed(
                at=self.context.now_ms(),
                connection=self.client.id,
                channel=channel,
                recovered=result.recovered if result.was_recovering else None,
                offset=result.offset,
            )
        )

    def end_subscription(self, channel: str, why: UnsubscribeCode) -> None:
        """Tells the client that the server ended one of its subscriptions."""
        subscription = self.client.channels.get(channel)
        if self.closing or subscription is None:
            return
        if subscription.server_side and why.code >= codes.UNSUBSCRIBED_INSUFFICIENT_STATE.code:
            self.close(codes.INSUFFICIENT_STATE)  # SDKs do not subscribe it anew by themselves: they connect anew
            return
        self.context.node.flush((channel,))
        self.leave(channel)
        self.push_alone(Push(channel=channel, unsubscribe=UnsubscribePush(*why)))
        self.context.record(
            Unsubscribed(at=self.context.now_ms(), connection=self.client.id, channel=channel, code=why.code)
        )

    def leave(self, channel: str) -> None:
        """The client is not in the channel any more."""
        del self.client.channels[channel]
        self.context.subscriptions -= 1
        self.context.node.unsubscribe(self, channel)

    # --- out ---------------------------------------------------------------------------------------------------------

    def push(self, framed: bytes, subscription: Subscription, count: int) -> bool:
        """Takes pushes of a channel (see `subscribers.Subscriber`)."""
        if self.closing or (self.laggard is not None and self._leaves_out(self.laggard, subscription, count)):
            return False
        self._transport.write(framed)
        tally = self.context.tally
        tally.messages_out += count
        tally.bytes_out += len(framed)
        return True

    def push_member_event(self, channel: str, framed: bytes) -> None:
        """Takes one join or leave (see `subscribers.Subscriber`). A laggard gets it when it is an ordinary one."""
        if self.closing:
            return
        if self.laggard is None:
            self.write_framed(framed)
        elif not self.laggard.hold(channel, framed):
            self.close(codes.SLOW, "it does not take who comes and goes")

    def _leaves_out(self, laggard: Laggard, subscription: Subscription, count: int) -> bool:
        """Whether a laggard is not given this: it gets it from the log later, or misses it, as its namespace says."""
        if subscription.rules.has_history:
            return True
        if laggard.flows:
            return False
        if laggard.loses and subscription.rules.options.slow_client == "drop":
            self.context.tally.dropped += count
        elif laggard.loses:
            self.close(codes.SLOW, "it does not take what its channels say")
        return True

    def encoding_failed(self, why: str) -> None:
        """A publication cannot be said in the client's encoding (see `subscribers.Subscriber`)."""
        self.close(codes.INAPPROPRIATE_PROTOCOL, f"a payload for a JSON connection: {why}")

    def encode(self, reply: Reply) -> bytes:
        """A reply as one message, counted if it is an error. Raises `NotEncodable`."""
        if reply.error is not None:
            self.context.tally.errors[reply.error.code] += 1
        return self.format.encode(reply)

    def tell_refusal(self, code: int, message: str, detail: str) -> None:
        """Says in the log what was refused and why: most refusals are mistakes in a configuration or an application."""
        self.context.refused(f"a command was refused with {code} {message}", detail)

    def reply(self, *replies: Reply) -> None:
        """Writes replies to the client, or ends the connection if its encoding cannot carry them."""
        try:
            self._write([self.encode(reply) for reply in replies])
        except NotEncodable as error:
            self.encoding_failed(str(error))

    def push_alone(self, push: Push) -> None:
        """A push for this client alone."""
        self.reply(Reply(push=push))

    def _write(self, messages: list[bytes]) -> None:
        """Replies and pushes for this client alone. To a laggard goes no more than what was in progress before."""
        if messages and not self.closing:
            self.write_framed(self.format.frame(messages), len(messages))

    @property
    def buffered(self) -> int:
        """Bytes that wait for the socket."""
        return self._transport.get_write_buffer_size()

    def write_framed(self, framed: bytes, messages: int = 1) -> None:
        """So many framed messages for this client alone, such as what a laggard missed."""
        if not self.closing:
            self.context.tally.messages_out += messages
            self.context.tally.bytes_out += len(framed)
            self._transport.write(framed)

    def lags_at(self, positions: dict[str, StreamPosition]) -> None:
        """One reply could not hold what the client missed: the rest follows as pushes, as fast as it takes them."""
        self.laggard = self.laggard or Laggard(self, self.context, flowing=True)
        for channel, position in positions.items():
            self.laggard.joined(channel, position)

    def caught_up(self, held: list[tuple[str, bytes]]) -> None:
        """The laggard took everything that it had missed and is an ordinary one again. `held`: joins and leaves."""
        self.laggard = None
        for channel, framed in held:
            if channel in self.client.channels:
                # A write may make it a laggard again, which then holds the rest.
                self.push_member_event(channel, framed)
        self.work_off()

    # --- time --------------------------------------------------------------------------------------------------------

    def on_time(self, now: float) -> float:
        """The wheel's question (see `timing_wheel.Timed`)."""
        if self.closing:
            self._transport.abort()  # the peer had its time to answer the close frame, or to take it
            return float("inf")
        if self.laggard is not None:
            if now >= self.laggard.give_up_at and not self.laggard.takes_something(now):
                self.close(codes.SLOW, "it has taken nothing for too long")
                return now + CLOSE_TIMEOUT_S
            self.client.excuse_pong(now)
        elif self._performer is not None and self._queue:  # its pong may be among what waits
            self.client.excuse_pong(now)
        match self.client.due(now):
            case Ping(native=True):
                self._transport.write(self.format.native_ping)
            case Ping():
                self.write_framed(self.format.ping)
            case Close(close, detail):
                self.close(close, detail)
                return now + CLOSE_TIMEOUT_S
            case EndSubscription(channel):
                self.end_subscription(channel, codes.UNSUBSCRIBED_EXPIRED)
            case AskHook() as asked:
                Performer(self, asked)  # beside the commands: nobody waits for it
            case Nothing():
                pass
        return self._next_time()

    def _next_time(self) -> float:
        if self.laggard is None:
            return self.client.deadline
        return min(self.client.deadline, self.laggard.give_up_at)

    # --- closing -----------------------------------------------------------------------------------------------------

    def say_goodbye(self, close: CloseCode) -> None:
        """Closes once the command in progress is answered; at once when there is none."""
        if self._performer is not None and not self.closing:
            self._leaving = close
        else:
            self.close(close)

    def close(self, close: CloseCode, detail: str = "") -> None:
        """Ends the connection with this code. Only the first call counts."""
        if self.closing:
            return
        if self.laggard is None:  # one that is may be closed in the middle of a fan-out, which must not begin another
            self.context.node.flush(self.client.channels)
        if detail:
            self.context.refused(f"a connection was closed with {close.code} {close.reason}", detail)
        self._transport.write(self.format.farewell(close))
        self._end(close.code, close.reason)
        if not self.format.answers_close:
            self._transport.close()
        elif self._reading_paused and not self._transport.is_closing():
            self._transport.resume_reading()  # for the peer's close frame
        self.context.timing_wheel.add(self, self.context.clock.now() + CLOSE_TIMEOUT_S)

    def cut(self) -> None:
        """Drops the transport without waiting for anything."""
        self.close(codes.GOING_AWAY)
        self._transport.abort()

    def closed_by_peer(self, code: int, reason: str) -> None:
        """The client said goodbye itself; the transport has answered it."""
        if not self.closing:
            self._end(code, reason)
        self.context.timing_wheel.add(self, self.context.clock.now() + CLOSE_TIMEOUT_S)

    def _end(self, code: int, reason: str) -> None:
        """Leaves everything and writes the end of the session down. Happens once, first."""
        self.closing = True
        context, client = self.context, self.client
        context.tally.closes[code] += 1
        for channel in tuple(client.channels):
            self.leave(channel)
        self._queue = None
        if self.laggard is not None:
            self.laggard.stop()
        context.users.remove(client.identity.user, self)
        if self._open:
            context.record(Closed(at=context.now_ms(), connection=client.id, code=code, reason=reason))
