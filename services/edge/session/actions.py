"""What a command needs from the cluster or a backend. The executor does it; its outcome goes back to the session.

Each action names the command that it belongs to: `command_id`, 0 for what no command asked for.
"""

from __future__ import annotations

from typing import final

from msgspec import Raw, Struct

from proto.commands import Command
from proto.messages import ClientInfo, StreamPosition
from proto.replies import ConnectResult
from services.edge.backend.backend import Caller
from services.edge.channels.namespaces import ChannelRules
from services.edge.channels.subscription import AttachRequest


class LookUpKey(Struct, frozen=True):
    """Look for the key `kid` that a token of `command` names; the command is then handled once more."""

    command: Command
    kid: str

    @property
    def command_id(self) -> int:
        return self.command.id


class AskHook(Struct, frozen=True):
    """Have a backend decide about `command`. `hook_questions` encodes `question`."""

    event: str
    command: Command
    question: bytes
    caller: Caller
    timeout_s: float
    allow_when_away: bool

    @property
    def command_id(self) -> int:
        return self.command.id


class Connect(Struct, frozen=True):
    """Subscribe a client that was let in to the channels that the server chose for it; `result` is its reply so far."""

    command_id: int
    result: ConnectResult
    requests: list[AttachRequest]

    def enters(self, channel: str) -> bool:
        """Whether this channel is one of them."""
        return any(request.channel == channel for request in self.requests)


@final
class Publish(Struct, frozen=True):
    """Publish to a channel. With a `key`, repeated publishes are stored once, and the reply has the position."""

    command_id: int
    channel: str
    rules: ChannelRules
    data: Raw
    info: ClientInfo
    user: str
    tags: dict[str, str] | None = None
    skip_history: bool = False
    key: str = ""
    as_rpc: bool = False  # it came as the built-in RPC, and is answered as one


class ReadHistory(Struct, frozen=True):
    """Read publications of the channel's log, at most `limit`; 0 asks for the position only."""

    command_id: int
    channel: str
    rules: ChannelRules
    limit: int
    since: StreamPosition | None
    reverse: bool


class ReadPresence(Struct, frozen=True):
    """Ask all edges which clients are in the channel, or only how many."""

    command_id: int
    channel: str
    count_only: bool


class CallBackend(Struct, frozen=True):
    """Have a backend answer an RPC."""

    command_id: int
    method: str
    data: Raw
    caller: Caller


Action = AttachRequest | Connect | Publish | ReadHistory | ReadPresence | CallBackend | LookUpKey | AskHook
