"""The phases of one client's session, from its connect to its end, without the commands in between. Pure.

    NEW --connect--> CONNECTING (to its channels) --> CONNECTED --> CLOSED
     '----------------'--refused with an error--> REFUSED --> CLOSED: the client should leave; its commands are ignored

The subclass, `Session`, decides on the commands.
"""

from __future__ import annotations

from proto import codes
from proto.codes import CloseCode, ErrorCode, UnsubscribeCode
from proto.events import BY_CLIENT, BY_DRAIN, BY_EDGE, Closed
from proto.messages import Error
from proto.replies import reply_to
from services.edge.session import attachment
from services.edge.session.actions import Connect
from services.edge.session.command_order import CommandOrder
from services.edge.session.connect import close_for_error
from services.edge.session.effects import (
    Admit,
    Detach,
    Dismiss,
    Effect,
    Ended,
    Farewell,
    Flush,
    HoldPushes,
    Record,
    RecordRefusal,
    ReleasePushes,
    Reschedule,
    Send,
    refusal,
)
from services.edge.session.state import CLOSED, CONNECTED, CONNECTING, NEW, REFUSED, SessionState
from services.edge.session.timers import Timers


class Lifecycle(CommandOrder):
    """The phases of a session. `state` describes the client, which has to connect before `stale_at`."""

    __slots__ = ("_timers", "phase")

    def __init__(self, state: SessionState, stale_at: float) -> None:
        super().__init__(state)
        self.phase = NEW
        self._timers = Timers(stale_at)

    @property
    def _takes_server_commands(self) -> bool:
        return self.phase is CONNECTED or self.phase is CONNECTING

    @property
    def awaits_connect(self) -> bool:
        """Whether the client has sent no command yet."""
        return self.phase is NEW and self._in_progress is None

    # --- connect -----------------------------------------------------------------------------------------------------

    def _connect(self, action: Connect, effects: list[Effect], now: float) -> None:
        self.phase = CONNECTING
        effects.append(Admit(self.state.identity.user))  # at once, so that the connection limit of its user counts it
        if action.requests:
            effects.append(HoldPushes())
            self._start(action, effects, now)
        else:
            self._open(now)
            effects += attachment.opened(self.state, action.command_id, action.result, now)

    def _open(self, now: float) -> None:
        self.phase = CONNECTED
        self._timers.connected(self.state, now)

    def _refuse_connect(self, command_id: int, error: ErrorCode, why: str, effects: list[Effect], now: float) -> None:
        self._note_error("connect", error)
        effects.append(refusal("connect", error, why=why))
        if self.phase is CONNECTING:  # it was admitted, then attaching its channels failed
            effects += (ReleasePushes(), Dismiss(self.state.identity.user))
        self.phase = REFUSED
        if self.state.format.unidirectional:
            self._close(close_for_error(error, self.state.policy.section), error.message, effects, now)
            return
        effects += (Send(reply_to(command_id, Error(*error))), Reschedule())

    # --- channels ----------------------------------------------------------------------------------------------------

    def end_subscription(self, channel: str, why: UnsubscribeCode, now: float) -> list[Effect]:
        """Ends one of the client's subscriptions, and sends it an unsubscribe push."""
        effects: list[Effect] = []
        self._end_subscription(channel, why, effects, now, BY_EDGE)
        return effects

    def _end_subscription(self, channel: str, why: UnsubscribeCode, effects: list[Effect], now: float, by: str) -> None:
        subscription = self.state.channels.get(channel)
        if subscription is None:
            if isinstance(self._in_progress, Connect) and channel in self._in_progress.channels:
                effects.append(Detach((channel,)))  # attached already, while its connect reply waits for other channels
                self._close(codes.INSUFFICIENT_STATE, "", effects, now, by)
            return
        if subscription.server_side and why.code >= codes.UNSUBSCRIBED_INSUFFICIENT_STATE.code:
            # SDKs cannot repeat a server-side subscription; when they reconnect, the server makes it again.
            self._close(codes.INSUFFICIENT_STATE, "", effects, now, by)
            return
        effects += attachment.unsubscribed_by_server(self.state, channel, why, now, by)

    # --- the client's socket -----------------------------------------------------------------------------------------

    def stalled(self, now: float) -> list[Effect]:
        """The client does not take what is written to it: blocks the session until `caught_up`."""
        if self.closed:
            return []
        self.blocked = True
        effects: list[Effect] = [Reschedule()]
        self._pace_reading(effects)
        return effects

    def caught_up(self, now: float) -> list[Effect]:
        """The client has taken everything that it had missed."""
        self.blocked = False
        return self._advance([], now)

    # --- time --------------------------------------------------------------------------------------------------------

    @property
    def deadline(self) -> float:
        """When to call `tick` next."""
        return self._timers.deadline(self.state, self.phase)

    def native_pong(self, now: float) -> None:
        """The client answered a WebSocket ping."""
        if not self.closed:
            self._timers.native_pong(self.state, now)

    # --- the end -----------------------------------------------------------------------------------------------------

    def close(self, close: CloseCode, now: float, detail: str = "", by: str = BY_EDGE) -> list[Effect]:
        """Ends the session with this code; `detail` is for the log, `by` who wants it. Only the first call counts."""
        effects: list[Effect] = []
        self._close(close, detail, effects, now, by)
        return effects

    def _close(
        self, close: CloseCode, detail: str, effects: list[Effect], now: float, by: str = BY_EDGE, reason: str = ""
    ) -> None:
        if self.closed:
            return
        if (self.phase is NEW or self.phase is CONNECTING) and by != BY_DRAIN:
            effects.append(RecordRefusal("connect", close.code, reason or close.reason))
        if self.state.channels and not self.blocked:
            effects.append(Flush(tuple(self.state.channels)))
        if detail:
            self._log(f"a connection was closed: {close.reason}", detail, effects, close.code)
        effects.append(Farewell(close))
        self._end(close.code, close.reason, effects, now, by)
        self._pace_reading(effects)  # for the peer's close frame

    def ended(self, code: int, reason: str, now: float, by: str = BY_CLIENT) -> list[Effect]:
        """The client has closed the connection, or (by `BY_NETWORK`) its transport is gone."""
        effects: list[Effect] = []
        if not self.closed:
            self._end(code, reason, effects, now, by)
        return effects

    def _end(self, code: int, reason: str, effects: list[Effect], now: float, by: str) -> None:
        state, opened = self.state, self.phase is CONNECTED
        self.phase = CLOSED
        self._clear()
        attaching = self._in_progress.channels if isinstance(self._in_progress, Connect) else ()
        if channels := tuple(state.channels) or attaching:
            effects.append(Detach(channels))
            state.channels.clear()
        effects.append(Ended(code, state.identity.user))
        if opened:
            at = attachment.milliseconds(state, now)
            effects.append(Record(Closed(at=at, connection=state.id, code=code, reason=reason, by=by)))
