"""Server commands: what backends command a connection to do, by the server API. Pure.

They queue with the client's own commands, so none of them runs while a command of the client is in progress. `trace` is
the span of the request with which the edge that the backend called passed the command on, if that is traced: all
connections that the request reaches share it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import assert_never

from msgspec import Raw

from proto import codes
from proto.codes import UnsubscribeCode
from proto.commands import SubscribeRequest
from proto.events import BY_BACKEND
from proto.messages import StreamPosition
from proto.replies import AsyncMessage, Push, Refresh, Reply
from services.chassis.tracing.span import Span
from services.edge.channels.subscription import AttachRequest
from services.edge.grants import Grant, seconds_left
from services.edge.rejection import Rejected
from services.edge.session.decisions import NOTHING, Decision, EndSubscriptions, Nothing, Renewed
from services.edge.session.state import SessionState
from services.edge.session.subscribe import server_side


@dataclass(frozen=True, slots=True)
class SubscribeClient:
    """Subscribe the client to a channel; `since` is the position from which it recovers, None without recovery."""

    channel: str
    grant: Grant
    since: StreamPosition | None = None
    trace: Span | None = None


@dataclass(frozen=True, slots=True)
class UnsubscribeClient:
    """End the client's subscription to `channel`, or all of its subscriptions if that is ""."""

    channel: str
    why: UnsubscribeCode
    trace: Span | None = None


@dataclass(frozen=True, slots=True)
class RefreshClient:
    """Let the connection expire at `expires_at` from now on (Unix seconds, 0: never)."""

    expires_at: int
    info: Raw
    trace: Span | None = None


@dataclass(frozen=True, slots=True)
class SendToClient:
    """Send the client this message, outside of any channel."""

    data: Raw
    trace: Span | None = None


ServerCommand = SubscribeClient | UnsubscribeClient | RefreshClient | SendToClient


def decide(state: SessionState, command: ServerCommand, now: float) -> Decision:
    """Decides on a command of a backend. Raises `Rejected`."""
    match command:
        case SubscribeClient():
            return _subscribe(state, command, now)
        case UnsubscribeClient(channel, why):
            return EndSubscriptions((channel,) if channel else tuple(state.channels), why, by=BY_BACKEND)
        case RefreshClient(expires_at, info):
            state.extend(expires_at, info)
            ttl = seconds_left(expires_at, state.unix(now))
            return Renewed(Reply(push=Push(refresh=Refresh(expires=ttl > 0, ttl=ttl))))
        case SendToClient(data):
            return Reply(push=Push(message=AsyncMessage(data)))
        case unreachable:
            assert_never(unreachable)


def _subscribe(state: SessionState, command: SubscribeClient, now: float) -> AttachRequest | Nothing:
    """A client that is subscribed already stays as it is."""
    since = command.since
    if command.channel in state.channels:
        return NOTHING
    if len(state.channels) >= state.policy.section.channel_limit:
        raise Rejected(codes.LIMIT_EXCEEDED, "the client has reached client.channel_limit")
    request = SubscribeRequest()
    if since is not None:
        request = SubscribeRequest(recover=True, offset=since.offset, epoch=since.epoch)
    return server_side(state, command.channel, command.grant, request, now)
