"""Actions: what a command needs from the cluster or a backend. The executor carries them out and returns outcomes.

An action names its command by `command_id`, which is 0 if no command asked for it, and carries the command's span in
`trace` if that is traced.
"""

from __future__ import annotations

from typing import final

from msgspec import Raw, Struct

from proto.commands import Command
from proto.messages import ClientInfo, StreamPosition
from proto.publications import Version
from proto.replies import ConnectResult
from services.chassis.tracing.span import Span
from services.edge.backend.backend import Caller
from services.edge.channels.namespaces import ChannelRules
from services.edge.channels.subscription import AttachRequest
from services.edge.hook_settings import NATS
from services.edge.tokens.token_keys import KeySet


class LookUpKey(Struct, frozen=True):
    """Look up the key `kid`, which a token of `command` names, at the endpoint of `keys`; the session then handles the
    command again.
    """

    command: Command
    kid: str
    keys: KeySet
    trace: Span | None = None

    @property
    def command_id(self) -> int:
        return self.command.id


class AskHook(Struct, frozen=True):
    """Ask the backend of this name to decide on `command`. `hook_questions` encodes `question`."""

    event: str
    command: Command
    question: bytes
    caller: Caller
    timeout_s: float
    allow_when_away: bool
    backend: str = NATS
    trace: Span | None = None

    @property
    def command_id(self) -> int:
        return self.command.id


class Connect(Struct, frozen=True):
    """Attach an admitted client to the channels that the server chose for it. `result` is its reply so far."""

    command_id: int
    result: ConnectResult
    requests: list[AttachRequest]
    trace: Span | None = None

    @property
    def channels(self) -> tuple[str, ...]:
        """The names of these channels."""
        return tuple([request.channel for request in self.requests])


@final
class Publish(Struct, frozen=True):
    """Publish to a channel. With a `key`, a repeated publish is stored once, and the reply contains the position.

    The key is the client's own or, with `key_of_backend`, one from the hook's answer. `version`: see `Node`.
    """

    command_id: int
    channel: str
    rules: ChannelRules
    data: Raw
    info: ClientInfo
    user: str
    tags: dict[str, str] | None = None
    skip_history: bool = False
    key: str = ""
    key_of_backend: bool = False
    version: Version | None = None
    as_rpc: bool = False  # the client sent it as the built-in RPC and expects an RPC reply
    trace: Span | None = None


class ReadHistory(Struct, frozen=True):
    """Read publications of the channel's log, at most `limit`; 0 asks for the position only."""

    command_id: int
    channel: str
    rules: ChannelRules
    limit: int
    since: StreamPosition | None
    reverse: bool
    trace: Span | None = None


class ReadPresence(Struct, frozen=True):
    """Ask all edges which clients are in the channel, or only how many."""

    command_id: int
    channel: str
    count_only: bool
    trace: Span | None = None


class CallBackend(Struct, frozen=True):
    """Send an RPC to a backend."""

    command_id: int
    method: str
    data: Raw
    caller: Caller
    trace: Span | None = None


Action = AttachRequest | Connect | Publish | ReadHistory | ReadPresence | CallBackend | LookUpKey | AskHook
