"""The time limits of a client: for connecting, pongs, expiry and refreshes. Pure.

One number, `deadline`, replaces a timer for each. Times are the edge's own, in seconds, except those at which something
expires: these are Unix seconds, and are compared with the wall clock of the moment.
"""

from __future__ import annotations

import math
from typing import Final
from zlib import crc32

from msgspec import Struct

from proto import codes
from proto.commands import Command, SubRefreshRequest
from proto.events import BY_NETWORK
from services.edge.backend import hook_questions
from services.edge.channel_settings import ChannelOptions
from services.edge.rejection import Rejected
from services.edge.session.actions import AskHook
from services.edge.session.decisions import NOTHING, Close, EndSubscriptions, Nothing
from services.edge.session.effects import SendPing
from services.edge.session.state import CONNECTED, CONNECTING, Phase, SessionState

_ASK_REFRESH_AGAIN_S: Final = 5.0


Due = Nothing | Close | EndSubscriptions | SendPing | AskHook


class Timers(Struct, gc=False):
    """The times of one client. It refers to nothing, so the garbage collector need not track it."""

    next_at: float
    """Before the client has connected, its time limit for that; then the time of the next ping, or until which the pong
    has to come."""
    awaits_pong: bool = False
    ask_refresh_at: float = 0.0
    """When to ask the refresh hook again."""

    def connected(self, state: SessionState, now: float) -> None:
        """Schedules the first ping after half an interval to a whole one: the random client id spreads them."""
        interval = state.policy.section.ping_interval
        jitter = crc32(state.id.encode()) / 2**32
        self.next_at = now + interval * (0.5 + jitter / 2) if interval else math.inf

    def deadline(self, state: SessionState, phase: Phase) -> float:
        """When to call `due` next."""
        if phase is CONNECTING:
            return math.inf  # attaching its channels has a deadline of its own
        at = self.next_at
        if phase is not CONNECTED:
            return at
        policy, expires_at = state.policy, state.identity.expires_at
        section = policy.section
        if expires_at:
            ends_at = expires_at - policy.clock_ahead()
            at = min(at, ends_at + section.expired_close_delay)
            if section.refresh_hook:
                at = min(at, max(ends_at, self.ask_refresh_at))
        for subscription in state.channels.values():
            if subscription.expires_at:
                ends_at = subscription.expires_at - policy.clock_ahead()
                at = min(at, ends_at + section.expired_sub_close_delay)
                if subscription.rules.options.sub_refresh_hook:
                    at = min(at, max(ends_at, subscription.ask_refresh_at))
        return at

    def due(self, state: SessionState, phase: Phase, now: float) -> Due:
        """What is due at `now`. More may be due as long as it does not return `NOTHING`."""
        if phase is CONNECTING:
            return NOTHING
        if phase is not CONNECTED:
            return Close(codes.STALE) if now >= self.next_at else NOTHING
        section, expires_at, unix = state.policy.section, state.identity.expires_at, state.unix(now)
        if expires_at and unix >= expires_at + section.expired_close_delay:
            return Close(codes.CONNECTION_EXPIRED)
        if expires_at and section.refresh_hook and unix >= expires_at and now >= self.ask_refresh_at:
            self.ask_refresh_at = now + _ASK_REFRESH_AGAIN_S
            caller, backend, allow = state.caller, section.refresh_backend, section.hook_when_away == "allow"
            question = hook_questions.refresh_question(caller, state.policy.form(backend))
            return AskHook("refresh", Command(), question, caller, section.hook_timeout, allow, backend)
        for channel, subscription in state.channels.items():
            if subscription.expires_at and unix >= subscription.expires_at + section.expired_sub_close_delay:
                if subscription.server_side:
                    return Close(codes.SUBSCRIPTION_EXPIRED)
                return EndSubscriptions((channel,), codes.UNSUBSCRIBED_EXPIRED)
            if subscription.expires_at and unix >= subscription.expires_at and now >= subscription.ask_refresh_at:
                options = subscription.rules.options
                if options.sub_refresh_hook:
                    subscription.asked_to_refresh(now + _ASK_REFRESH_AGAIN_S)
                    return _sub_refresh(state, channel, _options_now(state, channel) or options)
        if now < self.next_at:
            return NOTHING
        if self.awaits_pong:
            return Close(codes.NO_PONG, by=BY_NETWORK)
        self.awaits_pong = state.answers_pings or state.native_pings or state.format.pongs_natively
        self.next_at = now + (section.pong_timeout if self.awaits_pong else section.ping_interval)
        return SendPing(state.native_pings)

    def pong(self, state: SessionState, now: float) -> bool:
        """The client answered a ping. False when there was none to answer."""
        if not self.awaits_pong:
            return False
        self.awaits_pong = False
        self.next_at = now + state.policy.section.ping_interval
        return True

    def native_pong(self, state: SessionState, now: float) -> None:
        """Takes a WebSocket pong, which may be unsolicited."""
        if state.native_pings or state.format.pongs_natively:
            self.pong(state, now)

    def excuse_pong(self, state: SessionState, now: float) -> None:
        """Restarts the time limit for the pong, as the client cannot answer our ping at the moment."""
        if self.awaits_pong:
            self.next_at = now + state.policy.section.pong_timeout

    def refreshed(self) -> None:
        """The refresh hook extended the connection: the next time to ask it is when the connection expires again."""
        self.ask_refresh_at = 0.0


def _options_now(state: SessionState, channel: str) -> ChannelOptions | None:
    """The options of the channel's namespace, which a reload may have changed; None if the hook is gone."""
    try:
        options = state.policy.namespaces.rules(channel).options
    except Rejected:  # the namespace is gone, and soon so is the subscription
        return None
    return options if options.sub_refresh_hook else None


def _sub_refresh(state: SessionState, channel: str, options: ChannelOptions) -> AskHook:
    caller, backend, allow = state.caller, options.sub_refresh_backend, options.hook_when_away == "allow"
    question = hook_questions.sub_refresh_question(caller, channel, state.policy.form(backend))
    command = Command(sub_refresh=SubRefreshRequest(channel=channel))  # as if the client had sent it
    return AskHook("sub_refresh", command, question, caller, options.hook_timeout, allow, backend)
