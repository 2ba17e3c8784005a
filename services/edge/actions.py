"""What the state machine of a client decides, for the connection to do. Exactly one action answers each command."""

from __future__ import annotations

from dataclasses import dataclass

from msgspec import Raw

from proto.codes import CloseCode
from proto.messages import ClientInfo, Command, Reply, StreamPosition
from services.edge.namespaces import Rules


@dataclass(frozen=True, slots=True)
class Nothing:
    """The command needs no answer."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Send this reply."""

    reply: Reply


@dataclass(frozen=True, slots=True)
class Close:
    """End the connection with this code."""

    close: CloseCode
    detail: str = ""  # for the log


@dataclass(frozen=True, slots=True)
class Connected:
    """The client is authenticated: send this reply and record that its session opened."""

    reply: Reply


@dataclass(frozen=True, slots=True)
class Subscribe:
    """Attach the client to a channel; `recover` is the position from which it wants what it missed."""

    command: Command
    channel: str
    rules: Rules
    positioned: bool
    recoverable: bool
    recover: StreamPosition | None
    reject_unrecovered: bool


@dataclass(frozen=True, slots=True)
class Unsubscribe:
    """Detach the client from a channel that it is subscribed to, then send the reply."""

    channel: str
    reply: Reply


@dataclass(frozen=True, slots=True)
class Publish:
    """Publish to a channel; the reply follows the broker's acknowledgement."""

    command: Command
    channel: str
    rules: Rules
    data: Raw
    info: ClientInfo


@dataclass(frozen=True, slots=True)
class ReadHistory:
    """Read the channel's log. `limit` 0 asks for the position only."""

    command: Command
    channel: str
    rules: Rules
    limit: int
    since: StreamPosition | None
    reverse: bool


Action = Nothing | Answer | Close | Connected | Subscribe | Unsubscribe | Publish | ReadHistory


@dataclass(frozen=True, slots=True)
class Ping:
    """Send a ping and expect a pong; `native`: of the WebSocket protocol, as the client asked for."""

    native: bool = False


TimedAction = Nothing | Close | Ping
