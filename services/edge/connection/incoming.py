"""What one client sends, up to its session: when its socket is read, whose turn it is, and what waits for its connect.

A socket delivers up to 256 KB at once, which can be work for seconds. So clients take turns: a transport hands in what
one turn allows, and holds the rest as a *backlog*; a session does the same with commands. While anything waits, the
socket is not read, so that what waits is bounded by one read, and TCP slows the client down.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Final, Protocol

from proto import codes
from proto.codec import BadFrame
from proto.codes import CloseCode
from proto.trace_context import TraceContext
from services.chassis.metrics.histogram import Exemplar
from services.chassis.tracing.span import Attributes
from services.edge.channels.subscription import AttachRequest
from services.edge.connection.client_labels import library_of
from services.edge.connection.context import EdgeContext
from services.edge.connection.outlet import Outlet
from services.edge.connection.registry import Lag
from services.edge.session.actions import Action, Connect
from services.edge.session.effects import Effect
from services.edge.session.outcomes import Attached, AttachedAll, Outcome
from services.edge.session.session import Session
from services.edge.session.state import CONNECTED, CONNECTING, NEW

EARLY_MESSAGES: Final = 64
"""Messages of a client that wait, undecoded, while its connect is decided on. Their bytes are bounded by
`client.message_size_limit`. SDKs send one message, which may hold subscribes after the connect."""


class Backlog(Protocol):
    """What a transport has received and not handed in yet."""

    def go_on(self) -> bool:
        """Hands in what one turn allows, or less if reading is paused meanwhile; whether anything is left."""


class Incoming(ABC):
    """The receiving half of a connection. The subclass, `Connection`, hands the session what arrives."""

    __slots__ = ("_backlog", "_connect_came_at", "_context", "_early", "_may_return", "_outlet", "session")

    def __init__(self, context: EdgeContext, outlet: Outlet, session: Session) -> None:
        self._context = context
        self._outlet = outlet
        self.session = session
        self._backlog: Backlog | None = None
        self._early: list[bytes] | None = None  # messages after the connect, while that is decided on
        self._connect_came_at = 0.0
        self._may_return = True  # until a reconnect was counted, or a subscription has ended

    def labels(self) -> tuple[str, str]:
        """Transport and library, by which metrics tell clients apart (see `subscriber.Owner`)."""
        state = self.session.state
        return state.format.transport, library_of(state.name)

    def described(self) -> Attributes:
        """The client, as a trace names it (see `subscriber.Owner`)."""
        state = self.session.state
        return {
            "fairlead.client": state.id,
            "fairlead.transport": state.format.transport,
            "fairlead.slow": self._outlet.slow is not None,
        }

    # --- for the subclass --------------------------------------------------------------------------------------------

    @abstractmethod
    def message_received(self, message: bytes) -> None:
        """Handles a frame of commands."""

    @abstractmethod
    def close(self, close: CloseCode, detail: str = "") -> None:
        """Ends the connection with this code."""

    @abstractmethod
    def _apply(self, effects: list[Effect]) -> None:
        """Carries out effects."""

    @property
    def lag(self) -> Lag:
        """How far the client is behind with what is written to it."""
        return self._outlet.lag

    # --- turns -------------------------------------------------------------------------------------------------------

    def hold(self, backlog: Backlog) -> None:
        """The transport has received more than one turn allows: the rest waits, and nothing is read meanwhile."""
        self._backlog = backlog
        self._context.tally.waits += 1
        if not self.session.reading_paused:  # otherwise `_pace_reading` goes on with it
            if not self._outlet.transport.is_closing():
                self._outlet.transport.pause_reading()
            self._context.turns.wait(self)

    def take_turn(self) -> None:
        """Goes on with the commands that wait, then with the backlog (see `turns.TakesTurns`)."""
        session, backlog = self.session, self._backlog
        if session.awaits_turn:
            self._apply(session.turn(self._context.clock.now()))
        if backlog is None or session.reading_paused:
            return
        if backlog.go_on():
            if not session.reading_paused:
                self._context.turns.wait(self)
        elif self._backlog is not None:
            self._backlog = None
            self._pace_reading(session.reading_paused)

    def _pace_reading(self, paused: bool) -> None:
        if self._outlet.transport.is_closing():
            return
        if paused:
            self._outlet.transport.pause_reading()
        elif self._backlog is None:
            self._outlet.transport.resume_reading()
        else:
            self._context.turns.wait(self)

    # --- before the client has connected -----------------------------------------------------------------------------

    def _may_take(self, message: bytes) -> bool:
        """Whether a message of a client that has not connected is to be handled now.

        Until a client is admitted, only its connect is decoded. What follows waits as bytes, and is dropped if the
        connect is refused. A lower limit for its size would lock clients out: SDKs send the connect with the positions
        of all channels, and all subscribes in the same message.
        """
        session = self.session
        if session.phase is not NEW:
            return session.phase is CONNECTING
        if not session.awaits_connect:
            self._keep(message)
            return False
        self._connect_came_at = self._context.clock.now()
        try:
            connect, rest = session.state.format.codec.split_first(message)
        except BadFrame as error:
            self.close(codes.BAD_REQUEST_CLOSE, str(error))
            return False
        if not rest:
            return True
        self._early = [rest]
        self.message_received(connect)
        self._take_early()
        return False

    def _keep(self, message: bytes) -> None:
        early = self._early = self._early or []
        early.append(message)
        limit = self.session.state.policy.section.message_size_limit
        if len(early) > EARLY_MESSAGES or sum(map(len, early)) > limit:
            self.close(codes.TOO_MANY_REQUESTS_CLOSE, "too many commands are waiting for the connect")

    def _take_early(self) -> None:
        """Handles the messages that waited for the connect, if that has been decided on."""
        phase, early = self.session.phase, self._early
        if early is None or phase is NEW:
            return
        self._early = None
        if phase is CONNECTED or phase is CONNECTING:
            for message in early:
                self.message_received(message)

    def _count_connect(self, trace: TraceContext | None) -> None:
        tally, labels, clock = self._context.tally, self.labels(), self._context.clock
        tally.connects[labels] += 1
        took_s, seconds = clock.now() - self._connect_came_at, tally.timings.connect_seconds.of(*labels)
        seconds.observe(took_s)
        if trace is not None:
            seconds.attach(Exemplar(took_s, trace.trace_id, clock.unix()))
        if self._context.connection_log is not None:
            self._context.connection_log.connected(self.session.state)

    def _count_attached(self, action: Action, outcome: Outcome, took_s: float) -> None:
        if isinstance(action, AttachRequest) and type(outcome) is Attached:
            self._count_subscribe(action, took_s)
        elif isinstance(action, Connect) and type(outcome) is AttachedAll:
            for request in action.requests:
                self._count_return(request)

    def _count_subscribe(self, request: AttachRequest, took_s: float) -> None:
        seconds = self._context.tally.timings.subscribe_seconds
        seconds.of(request.subscription.rules.namespace).observe(took_s)
        if request.recover is not None and self._may_return and not request.subscription.server_side:
            self._count_return(request)

    def _count_return(self, request: AttachRequest) -> None:
        """Counts a reconnect: on a new connection, a client asks for what came after a position that it has."""
        if self._may_return and request.recover is not None and request.recover.epoch:
            self._may_return = False
            self._context.tally.reconnects[self.labels()] += 1
