"""The facts of one connection for the session log, with what only the connection knows: its counters and positions."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final

from msgspec.structs import replace

from proto.events import MAX_OFFSETS, CaughtUp, Closed, Lagged, Opened, Refused
from services.edge.connection.context import EdgeContext
from services.edge.connection.incoming import Incoming
from services.edge.connection.outlet import Outlet
from services.edge.connection.slow_consumer import SlowConsumer
from services.edge.session.attachment import details
from services.edge.session.effects import Record, RecordRefusal
from services.edge.session.session import Session
from services.edge.session.state import CONNECTED

LAGS_EVERY_S: Final = 10.0
"""If a client lags and catches up again and again, only one episode in this many seconds is recorded."""

OFFSETS_WHILE_WAITING: Final = 20_000
"""While more facts than this wait for NATS, closes are recorded without offsets, which may take kilobytes each."""

_NEVER: Final = -math.inf


class Account(Incoming):
    """The receiving half of a connection, with its facts for the session log. Opened at `now`."""

    __slots__ = ("_accepted_at", "_bytes_in", "_heard_at", "_lag_told_at", "_messages_in", "_offsets")

    def __init__(self, context: EdgeContext, outlet: Outlet, session: Session, now: float) -> None:
        super().__init__(context, outlet, session)
        self._accepted_at = self._heard_at = now
        self._messages_in = self._bytes_in = 0
        self._lag_told_at = _NEVER
        self._offsets: dict[str, int] | None = None  # how far the client was in its channels at the end

    # --- what is counted ---------------------------------------------------------------------------------------------

    def _count_in(self, messages: int, size: int, now: float) -> None:
        """Counts `messages` commands that the client has sent, in `size` bytes."""
        self._context.tally.messages_in += messages
        self._messages_in += messages
        self._bytes_in += size
        self._heard_at = now

    def native_pong(self, now: float) -> None:
        """The client answered a WebSocket ping."""
        self._heard_at = now
        self.session.native_pong(now)

    def _keep_offsets(self, channels: Iterable[str]) -> None:
        """Notes up to which offset the client was sent these channels, before its ended connection leaves them."""
        node, outlet = self._context.node, self._outlet
        if self._context.session_log.waiting > OFFSETS_WHILE_WAITING:
            return
        offsets: dict[str, int] = {}
        for channel in channels:
            offset = None if outlet.slow is None else outlet.slow.offset(channel)
            if offset is None:
                offset = node.delivered_offset(channel, outlet)
            if offset:
                offsets[channel] = offset
                if len(offsets) == MAX_OFFSETS:
                    break
        self._offsets = offsets

    # --- what is recorded --------------------------------------------------------------------------------------------

    def _record(self, effect: Record) -> None:
        """Records a fact of the session."""
        context, event = self._context, effect.event
        if type(event) is Opened:
            self._count_connect(effect.trace)
        elif type(event) is Closed:
            event = self._completed(event)
            if context.connection_log is not None:
                lasted_s = context.clock.now() - self._accepted_at
                context.connection_log.disconnected(self.session.state, event, lasted_s)
        context.session_log.record(event, effect.trace)

    def _completed(self, closed: Closed) -> Closed:
        clock, outlet = self._context.clock, self._outlet
        return replace(
            closed,
            messages_in=self._messages_in,
            messages_out=outlet.messages_out,
            bytes_in=self._bytes_in,
            bytes_out=outlet.bytes_out,
            heard_at=max(0, int((clock.unix() - clock.now() + self._heard_at) * 1000)),
            offsets=self._offsets or {},
        )

    def _record_refusal(self, effect: RecordRefusal) -> None:
        state = self.session.state
        refused = Refused(
            0,
            effect.action,
            effect.code,
            effect.reason,
            connection=state.id,
            user=state.identity.user,
            channel=effect.channel,
            client_name=state.name,
            client_version=state.version,
        )
        self._context.refusal_facts.note(refused, lambda: details(state))

    def _tell_lag(self, slow: SlowConsumer, now: float) -> None:
        """Records that the client does not take what is sent to it."""
        if self.session.phase is CONNECTED and now - self._lag_told_at >= LAGS_EVERY_S:
            self._lag_told_at = slow.told_at = now
            lagged = Lagged(self._unix_ms(), self.session.state.id, self._outlet.buffered)
            self._context.session_log.record(lagged)

    def _tell_caught_up(self, now: float) -> None:
        """Records that the client has taken everything, if it was recorded that it lags."""
        slow = self._outlet.slow
        if slow is not None and slow.told_at:
            caught_up = CaughtUp(self._unix_ms(), self.session.state.id, int((now - slow.told_at) * 1000))
            self._context.session_log.record(caught_up)

    def _unix_ms(self) -> int:
        return int(self._context.clock.unix() * 1000)
