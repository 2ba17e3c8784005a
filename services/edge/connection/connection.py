"""One client's connection, whatever its transport: events of the transport in, effects of the session out.

The session decides. This shell hands it each event and carries out the effects that it returns, in one step without an
await; nothing else closes the connection. The executor awaits actions, and its outcome is the next event. A transport
is a WebSocket (`websocket`) or an HTTP stream (`http_streams`).
"""

from __future__ import annotations

import asyncio
import logging
import math
import uuid
from collections.abc import Iterator
from typing import Final, assert_never

from proto import codes
from proto.codec import BadFrame
from proto.codec_json import decode_connect
from proto.codes import CloseCode, UnsubscribeCode
from proto.commands import Command
from proto.events import BY_EDGE, BY_NETWORK
from proto.messages import StreamPosition
from services.edge.arrival import UNKNOWN, Arrival
from services.edge.channels.subscriber import Untaken
from services.edge.channels.subscription import AttachRequest
from services.edge.connection.account import Account
from services.edge.connection.context import EdgeContext
from services.edge.connection.outlet import Outlet, Transport
from services.edge.connection.single_connection import Newest
from services.edge.connection.slow_consumer import CaughtUp, Held, PositionLost, SlowConsumer
from services.edge.framing.formats import Format
from services.edge.framing.wire import ABNORMAL
from services.edge.session.actions import Action
from services.edge.session.effects import (
    Admit,
    Announce,
    AwaitTurn,
    CatchUp,
    CloseOthers,
    Detach,
    Dismiss,
    Effect,
    Ended,
    EndSpan,
    Farewell,
    Flush,
    Forward,
    HoldPushes,
    LogRefusal,
    PaceReading,
    RareEffect,
    Record,
    RecordRefusal,
    ReleasePushes,
    Reschedule,
    Send,
    SendPing,
    Start,
    ends_something,
)
from services.edge.session.outcomes import Attached
from services.edge.session.server_commands import ServerCommand
from services.edge.session.session import Session
from services.edge.session.state import CONNECTED, SessionState

log = logging.getLogger(__name__)

CLOSE_TIMEOUT_S: Final = 2.0
"""How long the peer may take to answer our close frame before the edge aborts the transport."""

LOOK_AGAIN_S: Final = 30.0
"""How late a connection may expire if a jump of the wall clock has moved its end nearer. Longer than between pings."""


class Connection(Account):
    """The connection of one client. Made when the transport is open.

    `emulation_session` is the secret by which separate HTTP requests send commands of this client, "" on a WebSocket.
    `native_pings`: the client asked for WebSocket pings in place of the protocol's own. `address` is its address as
    `door.counted_as` makes it, `arrival` the request with which it came.
    """

    __slots__ = ("wheel_tick",)

    def __init__(
        self,
        context: EdgeContext,
        transport: Transport,
        format: Format,
        emulation_session: str = "",
        native_pings: bool = False,
        address: str = "",
        arrival: Arrival = UNKNOWN,
    ) -> None:
        id, current = str(uuid.uuid4()), context.current
        state = SessionState(id, current, format, emulation_session, native_pings, address, arrival)
        now = context.clock.now()
        session = Session(state, now + context.policy.section.stale_close_delay)
        super().__init__(context, Outlet(self, transport, format, context.tally), session, now)
        self.wheel_tick = 0
        context.tally.accepted += 1
        context.registry.add(self)
        context.door.enter(address)
        context.timing_wheel.add(self, self.session.deadline)

    # --- events of the transport -------------------------------------------------------------------------------------

    def message_received(self, message: bytes) -> None:
        """Handles a frame of commands."""
        session, context = self.session, self._context
        if session.phase is not CONNECTED and not self._may_take(message):
            return
        state = session.state
        try:
            commands = state.format.codec.decode_commands(message, state.policy.section.commands_per_message)
        except BadFrame as error:
            self.close(codes.BAD_REQUEST_CLOSE, str(error))
            return
        now = context.clock.now()
        self._count_in(len(commands), len(message), now)
        self._apply(session.commands(commands, len(message), now))

    def connect_received(self, message: bytes) -> None:
        """Handles a unidirectional client's only message: a `ConnectRequest` in JSON, "" for none."""
        session, context = self.session, self._context
        if not session.awaits_connect:
            return
        try:
            connect = decode_connect(message, session.state.policy.section.commands_per_message)
        except BadFrame as error:
            self.close(codes.BAD_REQUEST_CLOSE, str(error))
            return
        now = self._connect_came_at = context.clock.now()
        self._count_in(1, len(message), now)
        self._apply(session.commands([Command(id=1, connect=connect)], len(message), now))

    def pause_writing(self) -> None:
        """The transport is full. Called inside of a write: from here on fan-out skips this client.

        The edge does not read from it either, so that nothing piles up.
        """
        if self._outlet.closed:
            return
        now = self._context.clock.now()
        slow = self._outlet.slow or self._hold_back()
        if slow.stall(now):
            self._tell_lag(slow, now)
        self._context.registry.stall(self)
        self._apply(self.session.stalled(now))

    def resume_writing(self) -> None:
        """The transport has room again."""
        self._context.registry.flow(self)
        slow = self._outlet.slow
        if slow is not None:
            slow.resume()
            self._catch_up_if_ready(slow)

    def closed_by_peer(self, code: int, reason: str) -> None:
        """The client closed the connection; the transport has answered it."""
        now = self._context.clock.now()
        self._apply(self.session.ended(code, reason, now))
        self._context.timing_wheel.add(self, now + CLOSE_TIMEOUT_S)

    def lost(self) -> None:
        """The transport is gone."""
        self._backlog = self._early = None
        now = self._context.clock.now()
        self._apply(self.session.ended(ABNORMAL, codes.CONNECTION_CLOSED.reason, now, BY_NETWORK))
        self._context.timing_wheel.remove(self)
        self._context.registry.remove(self)
        self._context.door.leave(self.session.state.address)
        self._outlet.part()

    # --- events of the edge ------------------------------------------------------------------------------------------

    @property
    def closed(self) -> bool:
        """Whether the session is over: nothing is sent any more."""
        return self.session.closed

    def server_command(self, command: ServerCommand) -> None:
        """Queues a command of a backend behind the commands that wait."""
        self._apply(self.session.server_command(command, self._context.clock.now()))

    def end_subscription(self, channel: str, why: UnsubscribeCode) -> None:
        """Ends one subscription, and sends the client an unsubscribe push."""
        self._apply(self.session.end_subscription(channel, why, self._context.clock.now()))

    def leave(self, close: CloseCode, by: str = BY_EDGE) -> None:
        """Closes once the command in progress is answered; at once if none is in progress."""
        self._apply(self.session.leave(close, self._context.clock.now(), by))

    def close(self, close: CloseCode, detail: str = "", by: str = BY_EDGE) -> None:
        """Closes with this code; `detail` is for the log, `by` who wants it. Only the first call counts."""
        self._apply(self.session.close(close, self._context.clock.now(), detail, by))

    def cut(self, by: str = BY_EDGE) -> None:
        """Closes, and aborts the transport without waiting for the client."""
        self.close(codes.GOING_AWAY, by=by)
        self._outlet.transport.abort()

    def on_time(self, now: float) -> float:
        """Does what is due (see `timing_wheel.Timed`)."""
        if self.session.closed:
            self._outlet.transport.abort()  # the peer neither took nor answered the close frame in time
            return float("inf")
        slow = self._outlet.slow
        if slow is not None and now >= slow.give_up_at and not slow.takes_something(now):
            self.close(codes.SLOW, "the client has taken nothing for too long")
        else:
            self._apply(self.session.tick(now))
        return now + CLOSE_TIMEOUT_S if self.closed else self._next_time(now)

    def _next_time(self, now: float) -> float:
        at, slow = self.session.deadline, self._outlet.slow
        if slow is not None:
            at = min(at, slow.give_up_at)
        return at if at == math.inf else min(at, now + LOOK_AGAIN_S)

    # --- effects -----------------------------------------------------------------------------------------------------

    def _apply(self, effects: list[Effect]) -> None:
        """Carries out effects and what follows from them, then writes what they sent."""
        while effects:
            remaining = iter(effects)
            try:
                effects = self._carry_out(remaining)
            except Exception:  # a subscriber that is not detached would stay attached for ever
                self._carry_out(filter(ends_something, remaining))
                raise
        self._outlet.flush()

    def _carry_out(self, remaining: Iterator[Effect]) -> list[Effect]:
        """Returns the effects that follow."""
        context = self._context
        following: list[Effect] = []
        for effect in remaining:
            # The most frequent effects first, by identity: each class pattern of a `match` costs 0.1 us.
            if type(effect) is Send:
                untaken = self._outlet.send(effect.reply)
                if untaken is not None and untaken.close is not None:
                    # Of the remaining effects, only those that end something still apply.
                    closed = self.session.close(untaken.close, context.clock.now(), untaken.why)
                    return [*following, *closed, *filter(ends_something, remaining)]
            elif type(effect) is Start:
                following += self._start(effect.action, effect.deadline)
            elif type(effect) is Record:
                self._record(effect)
            elif type(effect) is Reschedule:
                context.timing_wheel.add(self, self._next_time(context.clock.now()))
            elif type(effect) is Admit:
                context.registry.admit(effect.user, self)
            else:
                following += self._carry_out_rare(effect)
        return following

    def _carry_out_rare(self, effect: RareEffect) -> list[Effect]:
        context, outlet = self._context, self._outlet
        match effect:
            case Flush(channels):
                outlet.flush()
                context.node.flush(outlet, channels)
            case Detach(channels):
                self._may_return = False  # what it recovers from here on was missed on this connection
                if self.session.closed:
                    self._keep_offsets(channels)
                for channel in channels:
                    context.node.unsubscribe(outlet, channel)
            case Announce(channel, subscription):
                outlet.flush()  # its own join must not precede its reply
                context.node.announce(channel, subscription)
            case LogRefusal(what, why, code, channel, method, trace):
                context.refusals.write(what, why, self.session.state.about(channel, code, method), trace)
            case RecordRefusal():
                self._record_refusal(effect)
            case PaceReading(paused):
                if paused is self.session.reading_paused:  # otherwise a write of this step has filled the socket since
                    self._pace_reading(paused)
            case AwaitTurn():
                context.tally.waits += 1
                context.turns.wait(self)
            case SendPing(native):
                outlet.ping(native)
            case Forward(caller, data, trace):
                context.backends.send(bytes(data), caller, trace)
            case HoldPushes():
                if outlet.slow is None:
                    self._hold_back(connecting=True)
                else:
                    outlet.slow.await_connect_reply()
            case ReleasePushes():
                if outlet.slow is not None and outlet.slow.connecting:
                    outlet.release()
                else:  # its socket has been full: it is released when it has caught up
                    self._catch_up_from({})
            case CatchUp(positions):
                outlet.flush()
                self._catch_up_from(positions)
            case CloseOthers(user, admitted_at):
                context.single_connection.close_others(Newest(user, self.session.state.id, admitted_at))
            case Dismiss(user):
                context.registry.dismiss(user, self)
            case Farewell(close):
                if not outlet.write_farewell(close):
                    outlet.transport.close()
            case Ended(code, user):
                self._end(code, user)
            case EndSpan(span):
                span.end()
            case unreachable:
                assert_never(unreachable)
        return []

    def _start(self, action: Action, deadline: float) -> list[Effect]:
        """Begins an action. Nearly all subscribes have an outcome at once, and need no task."""
        if isinstance(action, AttachRequest) and self._outlet.slow is None:
            result = self._context.node.subscribe_now(self._outlet, action)
            if result is not None:
                self._count_subscribe(action, 0.0)
                return self.session.completed(action, Attached(result), self._context.clock.now())
        # The loop keeps the task alive: until it is done, a timer for its deadline refers to it.
        asyncio.get_running_loop().create_task(self._execute(action, deadline))
        return []

    async def _execute(self, action: Action, deadline: float) -> None:
        began = self._context.clock.now()
        outcome = await self._context.executor.execute(action, self._outlet, deadline)
        # No await from here on: subscribed means live.
        now = self._context.clock.now()
        self._count_attached(action, outcome, now - began)
        try:
            self._apply(self.session.completed(action, outcome, now))
            if self._early is not None:
                self._take_early()
        except Exception:
            log.exception("failed to send the result of a command", extra=self.session.state.about())
            self.close(codes.INTERNAL_CLOSE)  # the client reconnects, instead of waiting for a reply for ever

    def _end(self, code: int, user: str) -> None:
        context = self._context
        self._outlet.close()
        if self._outlet.slow is not None:
            self._outlet.slow.stop()
        now = context.clock.now()
        context.tally.closes[code] += 1
        context.tally.timings.connection_duration_seconds.observe(now - self._accepted_at)
        context.registry.dismiss(user, self)
        context.timing_wheel.add(self, now + CLOSE_TIMEOUT_S)

    # --- a slow client -----------------------------------------------------------------------------------------------

    def _hold_back(self, connecting: bool = False) -> SlowConsumer:
        context, channels = self._context, self.session.state.channels
        delay_s = context.policy.section.slow_close_delay
        slow = SlowConsumer(self._outlet, context.node, channels, context.tally, delay_s, connecting)
        self._outlet.hold_back(slow)
        return slow

    def _catch_up_from(self, positions: dict[str, StreamPosition]) -> None:
        slow = self._outlet.slow or self._hold_back()
        slow.owe(positions)
        self._catch_up_if_ready(slow)

    def _catch_up_if_ready(self, slow: SlowConsumer) -> None:
        if slow.may_begin:
            slow.begin(self._catch_up(slow))

    async def _catch_up(self, slow: SlowConsumer) -> None:
        try:
            while not self.session.closed:
                match await slow.catch_up():
                    case PositionLost(channel):
                        self.end_subscription(channel, codes.UNSUBSCRIBED_INSUFFICIENT_STATE)
                    case Untaken(close, why):
                        self.close(close or codes.INTERNAL_CLOSE, why)
                    case CaughtUp(held):
                        self._caught_up(held)
                        return
                    case unreachable:
                        assert_never(unreachable)
        except Exception:
            log.exception("failed to go on with a client that has caught up", extra=self.session.state.about())
            self.close(codes.INTERNAL_CLOSE)  # the client reconnects, instead of waiting for ever

    def _caught_up(self, held: list[Held]) -> None:
        outlet = self._outlet
        self._tell_caught_up(self._context.clock.now())
        outlet.release()
        for channel, framed, events in held:
            if channel in self.session.state.channels:
                # This may stall the client again; the rest is then held.
                untaken = outlet.push_member_events(channel, framed, events)
                if untaken is not None and untaken.close is not None:
                    self.close(untaken.close, untaken.why)
                    return
        if outlet.slow is None:
            self._apply(self.session.caught_up(self._context.clock.now()))
