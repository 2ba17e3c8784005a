"""What backends order for a connection, by the server API. Pure.

These commands stand in line with the client's own, so they never meet one of those half done.
"""

from __future__ import annotations

from dataclasses import dataclass

from msgspec import Raw

from proto import codes
from proto.codes import UnsubscribeCode
from proto.commands import SubscribeRequest
from proto.messages import StreamPosition
from proto.replies import Push, Refresh, Reply
from services.edge.channels.subscription import AttachRequest
from services.edge.grants import Grant, seconds_left
from services.edge.rejection import Rejected
from services.edge.session.state import SessionState
from services.edge.session.subscribe import server_side


@dataclass(frozen=True, slots=True)
class SubscribeClient:
    """Subscribe the client to a channel; `since` is the position from which it wants what it missed."""

    channel: str
    grant: Grant
    since: StreamPosition | None = None


@dataclass(frozen=True, slots=True)
class UnsubscribeClient:
    """End its subscription to a channel, to all of them for ""."""

    channel: str
    why: UnsubscribeCode


@dataclass(frozen=True, slots=True)
class RefreshClient:
    """Let the connection expire at `expires_at` from now on (Unix seconds, 0: never)."""

    expires_at: int
    info: Raw


@dataclass(frozen=True, slots=True)
class SendToClient:
    """Send the client this message, outside of any channel."""

    data: Raw


ServerCommand = SubscribeClient | UnsubscribeClient | RefreshClient | SendToClient


def subscribe_client(state: SessionState, command: SubscribeClient, now: float) -> AttachRequest | None:
    """The subscription that a backend orders; None when the client has it. Raises `Rejected`."""
    since = command.since
    if command.channel in state.channels:
        return None
    if len(state.channels) >= state.policy.section.channel_limit:
        raise Rejected(codes.LIMIT_EXCEEDED, "the client has reached client.channel_limit")
    request = SubscribeRequest()
    if since is not None:
        request = SubscribeRequest(recover=True, offset=since.offset, epoch=since.epoch)
    return server_side(state, command.channel, command.grant, request, now)


def refresh_client(state: SessionState, command: RefreshClient, now: float) -> Reply:
    """Lets the connection expire as a backend orders; returns the push that tells the client."""
    state.extend(command.expires_at, command.info)
    ttl = seconds_left(command.expires_at, now)
    return Reply(push=Push(refresh=Refresh(expires=ttl > 0, ttl=ttl)))
