"""One WebSocket: the protocol class that uvicorn hands an upgraded socket to (its `ws=` option).

It feeds bytes to the wire and commands to the client's state machine, does what that decides, and writes what came out.
Commands of one connection are carried out one after the other; while one waits for the cluster the next ones queue up.
Everything that leaves does so by one ordered path, the transport.
"""

from __future__ import annotations

import asyncio
import logging
import random
import uuid
from collections import deque
from typing import Any, Final, cast

import msgspec

from proto import codes
from proto.codec import PING as PING_MESSAGE
from proto.codec import BadFrame, decode_commands, encode_reply, join_messages
from proto.codes import CloseCode, ErrorCode, UnsubscribeCode
from proto.events import Closed, Opened, Subscribed, Unsubscribed
from proto.messages import (
    Command,
    HistoryResult,
    Publication,
    PublishResult,
    Push,
    Reply,
    StreamPosition,
    SubscribeResult,
    reply_to,
)
from proto.messages import (
    Unsubscribe as UnsubscribePush,
)
from services.edge import wire
from services.edge.actions import Answer, Close, Connected, Nothing, Ping, Publish, ReadHistory, Subscribe, Unsubscribe
from services.edge.broker import BrokerAway, BrokerRefused
from services.edge.channel import Channel
from services.edge.client import Client, State, error_reply
from services.edge.hub import Hub
from services.edge.laggard import Laggard, first_of
from services.edge.node import History

log = logging.getLogger(__name__)

WEBSOCKET_PATH: Final = "/connection/websocket"
COMMAND_DEADLINE_S: Final = 4.5
"""A command that the cluster does not answer gets error 100 just before SDKs give up on it (5 s)."""

QUEUED_BYTES_LIMIT: Final = 128 * 1024
"""Bytes of commands behind one in progress; with more waiting the client is not read from."""

CLOSE_TIMEOUT_S: Final = 2.0
"""How long the peer may take to answer our close frame before the socket is cut."""

_REFUSALS: Final = frozenset(
    error.code for error in (codes.UNKNOWN_CHANNEL, codes.PERMISSION_DENIED, codes.TOKEN_EXPIRED, codes.NOT_AVAILABLE)
)
"""Error replies that point at a mistake in a configuration or an application, and so belong in the log."""

_JSON_SUBPROTOCOL: Final = "centrifuge-json"
_PROTOBUF_SUBPROTOCOL: Final = "centrifuge-protobuf"


class Connection(asyncio.Protocol):
    """See the module. The constructor's arguments are uvicorn's; `app_state` holds the hub, from the lifespan."""

    __slots__ = (
        "_busy",
        "_closing",
        "_hub",
        "_laggard",
        "_leaving",
        "_queue",
        "_queued_bytes",
        "_reading_paused",
        "_transport",
        "_wire",
        "client",
        "wheel_tick",
    )

    def __init__(self, config: Any, server_state: Any, app_state: dict[str, Any], _loop: Any = None) -> None:
        self._hub: Hub = app_state["hub"]
        self._transport: asyncio.Transport = cast("asyncio.Transport", None)  # until connection_made
        self._wire: wire.Wire | None = None  # until the handshake
        self._queue: deque[Command] | None = None  # commands behind the one in progress
        self._queued_bytes = 0  # of the messages that they came in, counted until the queue is empty
        self._busy: asyncio.Task[None] | None = None  # the command in progress
        self._closing = False  # nothing is sent any more but the close frame
        self._leaving: CloseCode | None = None  # to be closed once the command in progress is done
        self._laggard: Laggard | None = None  # while the client does not take what we write
        self._reading_paused = False
        self.wheel_tick = 0
        now = self._hub.clock.now()
        self.client = Client(str(uuid.uuid4()), self._hub.policy, now, random.random())

    # --- asyncio.Protocol -------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        if self._wire is None:
            self._open(data)
            return
        if self._closing and self._transport.is_closing():
            return
        try:
            for opcode, payload in self._wire.feed(data):
                self._frame_received(opcode, payload)
        except wire.WireError as error:
            self.close(error.close, str(error))
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._hub.wheel.remove(self)
        self._hub.connections.discard(self)
        if not self._closing:
            self._end(wire.ABNORMAL, codes.CONNECTION_CLOSED.reason)
        if self._laggard is not None:
            self._laggard.stop()
            self._laggard = None

    def pause_writing(self) -> None:
        # Called inside of a write: from here on fan-out skips this client, and what it sends is not read either, so
        # that nothing piles up. Its place in each channel is where the log stands now.
        if self._laggard is not None:
            self._laggard.paused()
            return
        self._hub.tally.lagged += 1
        self._laggard = Laggard(self, self._hub)
        self._hub.wheel.add(self, self._next_time())
        self._pace_reading()

    def resume_writing(self) -> None:
        if self._laggard is not None:
            self._laggard.resumed()

    def shutdown(self) -> None:
        """uvicorn's own goodbye; the drain has closed everything before it."""
        self.close(codes.GOING_AWAY)

    # --- opening ----------------------------------------------------------------------------------------------------

    def _open(self, head: bytes) -> None:
        try:
            upgrade = wire.parse_upgrade(head)
            subprotocol = self._check_upgrade(upgrade)
        except wire.HandshakeRefused as refused:
            self._hub.refused("an upgrade was refused", str(refused))
            self._closing = True
            self._transport.write(refused.response)
            self._transport.close()
            return
        hub = self._hub
        self._wire = wire.Wire(hub.policy.section.message_size_limit)
        self.client.native_pings = upgrade.query.get("cf_ws_frame_ping_pong") == "true"
        self._transport.write(wire.accept_response(upgrade, subprotocol))
        hub.tally.accepted += 1
        hub.connections.add(self)
        hub.wheel.add(self, self.client.deadline)

    def _check_upgrade(self, upgrade: wire.Upgrade) -> str | None:
        if upgrade.path != WEBSOCKET_PATH:
            raise wire.HandshakeRefused("404 Not Found", f"WebSockets are at {WEBSOCKET_PATH}")
        if self._hub.closed_to_new or not self._hub.started:
            reason = "this edge is going away" if self._hub.closed_to_new else "this edge is starting"
            raise wire.HandshakeRefused("503 Service Unavailable", f"{reason}, try again", "Retry-After: 1\r\n")
        if not self._hub.origins.allow(upgrade.headers.get("origin")):
            raise wire.HandshakeRefused("403 Forbidden", "this origin may not connect (client.allowed_origins)")
        protobuf = "protobuf" in (upgrade.query.get("cf_protocol"), upgrade.query.get("format"))
        if protobuf or (upgrade.subprotocols and _PROTOBUF_SUBPROTOCOL in upgrade.subprotocols):
            raise wire.HandshakeRefused("400 Bad Request", "this version speaks JSON, not Protobuf")
        return _JSON_SUBPROTOCOL if _JSON_SUBPROTOCOL in upgrade.subprotocols else None

    # --- in ---------------------------------------------------------------------------------------------------------

    def _frame_received(self, opcode: int, payload: bytes) -> None:
        if opcode == wire.CLOSE:
            self._closed_by_peer(payload)
        elif self._closing:
            return
        elif opcode == wire.PING:
            self._transport.write(wire.frame(wire.PONG, payload))
        elif opcode == wire.PONG:
            self.client.native_pong(self._hub.clock.now())
        else:
            self._message_received(payload)

    def _message_received(self, message: bytes) -> None:
        section = self._hub.policy.section
        try:
            commands = decode_commands(message, section.commands_per_message)
        except BadFrame as error:
            self.close(codes.BAD_REQUEST_CLOSE, str(error))
            return
        self._hub.tally.messages_in += len(commands)
        if self._queue is None:
            self._queue = deque(commands)
        else:
            self._queue.extend(commands)
        self._queued_bytes += len(message)
        if len(self._queue) > section.queued_commands_limit:
            self.close(codes.TOO_MANY_REQUESTS_CLOSE, "too many commands are waiting")
            return
        self._work_off()

    def _work_off(self) -> None:
        """Carries out what is queued, up to the first command that has to wait for the cluster.

        Nothing is carried out for a laggard: its replies would pile up. Reading is paused too, so the queue ends.
        """
        out: list[bytes] = []
        while self._queue and self._busy is None and not self._closing and self._laggard is None:
            action = self.client.handle(self._queue.popleft(), self._hub.clock.now())
            match action:
                case Nothing():
                    pass
                case Answer(reply):
                    out.append(self._encode(reply))
                case Connected(reply):
                    self._connected()
                    out.append(self._encode(reply))
                case Unsubscribe(channel, reply):
                    self._leave(channel)
                    self._hub.record(Unsubscribed(at=self._hub.now_ms(), connection=self.client.id, channel=channel))
                    out.append(self._encode(reply))
                case Close(close, detail):
                    self._write(out)
                    self.close(close, detail)
                    return
                case Subscribe() | Publish() | ReadHistory():
                    self._busy = asyncio.get_running_loop().create_task(self._perform(action))
        if not self._queue:
            self._queue, self._queued_bytes = None, 0
        self._write(out)
        self._pace_reading()

    def _pace_reading(self) -> None:
        """Stops reading from a client that has much waiting or that does not read itself, goes on when it may."""
        limit = self._hub.policy.section.queued_commands_limit // 2
        too_much = self._queue is not None and (len(self._queue) > limit or self._queued_bytes > QUEUED_BYTES_LIMIT)
        pause = self._laggard is not None or too_much
        if pause != self._reading_paused and not self._transport.is_closing():
            self._reading_paused = pause
            if pause:
                self._transport.pause_reading()
            else:
                self._transport.resume_reading()

    def _connected(self) -> None:
        client, hub = self.client, self._hub
        hub.wheel.add(self, self._next_time())  # the first ping may be due before the stale check was
        hub.user_came(client.identity.user)
        hub.record(
            Opened(
                at=hub.now_ms(),
                connection=client.id,
                user=client.identity.user,
                session_key=client.identity.session_key,
                client_name=client.name,
                client_version=client.version,
            )
        )

    # --- commands that wait for the cluster -------------------------------------------------------------------------

    async def _perform(self, action: Subscribe | Publish | ReadHistory) -> None:
        answer: SubscribeResult | PublishResult | HistoryResult | ErrorCode
        try:
            async with asyncio.timeout(COMMAND_DEADLINE_S):
                match action:
                    case Subscribe():
                        answer = await self._hub.node.subscribe(self, action)
                    case Publish():
                        answer = await self._publish(action)
                    case ReadHistory():
                        answer = await self._read_history(action)
        except (BrokerAway, BrokerRefused, TimeoutError) as error:
            log.debug("error 100 for a client: %s", error)
            answer = codes.INTERNAL
        except Exception:
            log.exception("a command failed")
            answer = codes.INTERNAL
        # From here on no await: after a subscribe, the reply must be the next thing that is written.
        self._busy = None
        if self._closing:
            if isinstance(action, Subscribe):
                self._hub.node.unsubscribe(self, action.channel)
            return
        if isinstance(answer, ErrorCode):
            self._write([self._encode(error_reply(action.command.id, answer))])
        else:
            if isinstance(action, Subscribe) and isinstance(answer, SubscribeResult):
                answer = self._subscribed(action, answer)
            self._write([self._encode(reply_to(action.command.id, answer))])
            if self._laggard is not None:
                self._laggard.begin()
        if self._leaving is not None:
            self.close(self._leaving)
            return
        self._work_off()

    def _subscribed(self, action: Subscribe, result: SubscribeResult) -> SubscribeResult:
        """Notes the subscription. Gives back the reply, cut to what one frame may hold: the rest follows as pushes."""
        self.client.channels[action.channel] = action.rules
        position = self._hub.node.position(action.channel)
        first, more = first_of(result.publications)
        if more:
            position = StreamPosition(first[-1].offset, result.epoch)
            self._laggard = self._laggard or Laggard(self, self._hub, flowing=True)
        if self._laggard is not None:
            self._laggard.joined(action.channel, position)
        self._hub.subscriptions += 1
        self._hub.record(
            Subscribed(
                at=self._hub.now_ms(),
                connection=self.client.id,
                channel=action.channel,
                recovered=result.recovered if result.was_recovering else None,
                offset=result.offset,
            )
        )
        return msgspec.structs.replace(result, publications=first) if more else result

    async def _publish(self, action: Publish) -> PublishResult:
        await self._hub.node.publish(action.channel, action.rules, Publication(data=action.data, info=action.info))
        return PublishResult()

    async def _read_history(self, action: ReadHistory) -> HistoryResult | ErrorCode:
        found = await self._hub.node.history(action.channel, action.rules, action.limit, action.since, action.reverse)
        if not isinstance(found, History):
            return found
        return HistoryResult(found.publications, found.top.epoch, found.top.offset)

    # --- out --------------------------------------------------------------------------------------------------------

    def push(self, framed: bytes, channel: Channel) -> None:
        """Takes one push of a channel (see `channel.Subscriber`)."""
        if self._closing:
            return
        if self._laggard is not None:
            if channel.log is None:
                self._miss(channel)
            return
        self._transport.write(framed)
        tally = self._hub.tally
        tally.messages_out += 1
        tally.bytes_out += len(framed)

    def _miss(self, channel: Channel) -> None:
        if channel.rules.options.slow_client == "drop":
            self._hub.tally.dropped += 1
        else:
            self.close(codes.SLOW, "it does not take what its channels say")

    def end_subscription(self, channel: str, why: UnsubscribeCode) -> None:
        """Tells the client that the server ended one of its subscriptions."""
        if self._closing or channel not in self.client.channels:
            return
        self._leave(channel)
        self._write([self._encode(Reply(push=Push(channel=channel, unsubscribe=UnsubscribePush(*why))))])
        self._hub.record(Unsubscribed(at=self._hub.now_ms(), connection=self.client.id, channel=channel, code=why.code))

    def _leave(self, channel: str) -> None:
        del self.client.channels[channel]
        self._hub.subscriptions -= 1
        self._hub.node.unsubscribe(self, channel)

    def _encode(self, reply: Reply) -> bytes:
        if reply.error is not None:
            self._hub.tally.errors[reply.error.code] += 1
            if reply.error.code in _REFUSALS:
                self._hub.refused("a command was refused", f"{reply.error.code} {reply.error.message}")
        return encode_reply(reply)

    def _write(self, messages: list[bytes]) -> None:
        """Replies and pushes for this client alone. To a laggard goes no more than what was in progress before."""
        if messages and not self._closing:
            self.write_framed(wire.frame(wire.TEXT, join_messages(messages)), len(messages))

    @property
    def buffered(self) -> int:
        """Bytes that wait for the socket."""
        return self._transport.get_write_buffer_size()

    def write_framed(self, framed: bytes, messages: int = 1) -> None:
        """One frame of so many messages for this client alone, such as what a laggard missed."""
        if not self._closing:
            self._hub.tally.messages_out += messages
            self._hub.tally.bytes_out += len(framed)
            self._transport.write(framed)

    def caught_up(self) -> None:
        """The laggard took everything that it had missed: it is an ordinary subscriber again."""
        self._laggard = None
        self._hub.tally.caught_up += 1
        self._work_off()

    # --- time -------------------------------------------------------------------------------------------------------

    def on_time(self, now: float) -> float:
        """The wheel's question (see `wheel.Timed`)."""
        if self._closing:
            self._transport.abort()  # the peer had its time to answer the close frame, or to take it
            return float("inf")
        if self._laggard is not None:
            if now >= self._laggard.give_up_at and not self._laggard.takes_something(now):
                self.close(codes.SLOW, "it has taken nothing for too long")
                return now + CLOSE_TIMEOUT_S
            self.client.excuse_pong(now)
        match self.client.due(now):
            case Ping(native=True):
                self._transport.write(wire.frame(wire.PING, b""))
            case Ping():
                self._write([PING_MESSAGE])
            case Close(close, detail):
                self.close(close, detail)
                return now + CLOSE_TIMEOUT_S
            case Nothing():
                pass
        return self._next_time()

    def _next_time(self) -> float:
        if self._laggard is None:
            return self.client.deadline
        return min(self.client.deadline, self._laggard.give_up_at)

    # --- closing ----------------------------------------------------------------------------------------------------

    def say_goodbye(self, close: CloseCode) -> None:
        """Closes once the command in progress is answered; at once when there is none."""
        if self._busy is not None and not self._closing:
            self._leaving = close
        else:
            self.close(close)

    def close(self, close: CloseCode, detail: str = "") -> None:
        """Ends the connection with this code. Only the first call counts."""
        if self._closing:
            return
        if detail:
            self._hub.refused(f"a connection was closed with {close.code} {close.reason}", detail)
        if self._wire is not None:
            self._transport.write(wire.close_frame(close.code, close.reason))
        self._end(close.code, close.reason)
        if self._reading_paused and not self._transport.is_closing():
            self._transport.resume_reading()  # for the peer's close frame
        self._hub.wheel.add(self, self._hub.clock.now() + CLOSE_TIMEOUT_S)

    def cut(self) -> None:
        """Drops the socket without waiting for anything."""
        self.close(codes.GOING_AWAY)
        self._transport.abort()

    def _closed_by_peer(self, payload: bytes) -> None:
        code, reason = wire.parse_close(payload)
        if not self._closing:
            echo = codes.NORMAL.code if code == wire.NO_STATUS else code
            self._transport.write(wire.close_frame(echo, ""))
            self._end(code, reason)
        self._transport.close()
        self._hub.wheel.add(self, self._hub.clock.now() + CLOSE_TIMEOUT_S)

    def _end(self, code: int, reason: str) -> None:
        """Leaves everything and writes the end of the session down. Happens once, first."""
        self._closing = True
        hub, client = self._hub, self.client
        if self._wire is None:
            return
        hub.tally.closes[code] += 1
        for channel in tuple(client.channels):
            self._leave(channel)
        self._queue = None
        if self._laggard is not None:
            self._laggard.stop()
        if client.state is State.CONNECTED:
            hub.user_left(client.identity.user)
            hub.record(Closed(at=hub.now_ms(), connection=client.id, code=code, reason=reason))
