"""What the passing of time demands of a client: connect in time, pong, refresh, leave. Pure.

There is one number, `deadline`, instead of a timer for each. Times are Unix seconds.
"""

from __future__ import annotations

import math
from typing import Final
from zlib import crc32

from msgspec import Struct

from proto import codes
from proto.commands import Command
from services.edge.backend import hook_questions
from services.edge.session.actions import AskHook
from services.edge.session.decisions import NOTHING, Close, Nothing
from services.edge.session.effects import SendPing
from services.edge.session.state import SessionState

_ASK_REFRESH_AGAIN_S: Final = 5.0


class EndSubscription(Struct, frozen=True):
    """A subscription has expired."""

    channel: str


Due = Nothing | Close | SendPing | EndSubscription | AskHook


class Timers:
    """The times of one client. It has to connect before `stale_at`."""

    __slots__ = ("_ask_refresh_at", "_awaits_pong", "_pong_or_ping_at", "_stale_at")

    def __init__(self, stale_at: float) -> None:
        self._awaits_pong = False
        self._ask_refresh_at = 0.0  # when the refresh hook is asked again
        self._stale_at = stale_at
        self._pong_or_ping_at = math.inf

    def connected(self, state: SessionState, now: float) -> None:
        """The first ping comes after half an interval to a whole one. The client id, which is random, spreads them."""
        interval = state.policy.section.ping_interval
        jitter = crc32(state.id.encode()) / 2**32
        self._pong_or_ping_at = now + interval * (0.5 + jitter / 2) if interval else math.inf

    def deadline(self, state: SessionState, connected: bool) -> float:
        """When `due` wants to be asked next."""
        if not connected:
            return self._stale_at
        at = self._pong_or_ping_at
        section, expires_at = state.policy.section, state.identity.expires_at
        grace = section.expired_close_delay
        if expires_at:
            at = min(at, expires_at + grace)
            if section.refresh_hook:
                at = min(at, max(expires_at, self._ask_refresh_at))
        for subscription in state.channels.values():
            if subscription.expires_at:
                at = min(at, subscription.expires_at + grace)
        return at

    def due(self, state: SessionState, connected: bool, now: float) -> Due:
        """What has to be done now. Ask again until it is nothing."""
        if not connected:
            return Close(codes.STALE) if now >= self._stale_at else NOTHING
        section, expires_at = state.policy.section, state.identity.expires_at
        grace = section.expired_close_delay
        if expires_at and now >= expires_at + grace:
            return Close(codes.CONNECTION_EXPIRED)
        if expires_at and section.refresh_hook and now >= max(expires_at, self._ask_refresh_at):
            self._ask_refresh_at = now + _ASK_REFRESH_AGAIN_S
            caller, when_away = state.caller, section.hook_when_away
            question = hook_questions.refresh_question(caller)
            return AskHook("refresh", Command(), question, caller, section.hook_timeout, when_away == "allow")
        for channel, subscription in state.channels.items():
            if subscription.expires_at and now >= subscription.expires_at + grace:
                return Close(codes.SUBSCRIPTION_EXPIRED) if subscription.server_side else EndSubscription(channel)
        if now < self._pong_or_ping_at:
            return NOTHING
        if self._awaits_pong:
            return Close(codes.NO_PONG)
        self._awaits_pong = state.answers_pings or state.native_pings or state.format.pongs_natively
        self._pong_or_ping_at = now + (section.pong_timeout if self._awaits_pong else section.ping_interval)
        return SendPing(state.native_pings)

    def pong(self, state: SessionState, now: float) -> bool:
        """The client answered a ping. False when there was none to answer."""
        if not self._awaits_pong:
            return False
        self._awaits_pong = False
        self._pong_or_ping_at = now + state.policy.section.ping_interval
        return True

    def native_pong(self, state: SessionState, now: float) -> None:
        """A WebSocket pong; an unsolicited one is allowed there."""
        if state.native_pings or state.format.pongs_natively:
            self.pong(state, now)

    def excuse_pong(self, state: SessionState, now: float) -> None:
        """The client cannot take or be asked for our ping at the moment: the time for its pong begins anew."""
        if self._awaits_pong:
            self._pong_or_ping_at = now + state.policy.section.pong_timeout

    def refreshed(self) -> None:
        """The refresh hook has answered: it is asked next when the connection expires again."""
        self._ask_refresh_at = 0.0
