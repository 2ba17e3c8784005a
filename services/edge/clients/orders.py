"""What backends order for connections of a user, in the words that a connection takes it in. Pure.

Orders stand in line with the client's own commands, so they never meet one of those half done.
"""

from __future__ import annotations

from dataclasses import dataclass

from msgspec import Raw

from proto.codes import UnsubscribeCode
from proto.messages import StreamPosition
from services.edge.grants import Grant


@dataclass(frozen=True, slots=True)
class SubscribeOrder:
    """Subscribe the client to a channel; `since` is where it had come to."""

    channel: str
    grant: Grant
    since: StreamPosition | None = None


@dataclass(frozen=True, slots=True)
class UnsubscribeOrder:
    """End its subscription to a channel, to all of them for ""."""

    channel: str
    why: UnsubscribeCode


@dataclass(frozen=True, slots=True)
class RefreshOrder:
    """The connection expires at `expires_at` from now on (Unix seconds, 0: never)."""

    expires_at: int
    info: Raw


@dataclass(frozen=True, slots=True)
class MessageOrder:
    """Tell the client this, outside of any channel."""

    data: Raw


Order = SubscribeOrder | UnsubscribeOrder | RefreshOrder | MessageOrder
