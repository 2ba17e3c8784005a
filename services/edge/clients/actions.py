"""What the state machine of a client decides, for the connection to do. Exactly one action answers each command.

Some need the cluster or a backend: what comes back either is the reply, or goes back to the state machine (`LearnKey`,
`AskHook`), which then decides on.
"""

from __future__ import annotations

from dataclasses import dataclass

from msgspec import Raw

from proto.codes import CloseCode, ErrorCode
from proto.commands import Command
from proto.messages import ClientInfo, Error, StreamPosition
from proto.replies import ConnectResult, Reply, reply_to
from services.edge.backend import hook_results
from services.edge.channels.namespaces import ChannelRules
from services.edge.channels.subscription import AttachRequest as AttachRequest


@dataclass(frozen=True, slots=True)
class Nothing:
    """The command needs no answer."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Send this reply. `detail` says for the log why it is an error: clients are told the code alone."""

    reply: Reply
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Close:
    """End the connection with this code."""

    close: CloseCode
    detail: str = ""  # for the log


@dataclass(frozen=True, slots=True)
class LearnKey:
    """A token names a key that is not known yet: look for it, then handle the command once more."""

    command: Command
    kid: str


@dataclass(frozen=True, slots=True)
class AskHook:
    """A backend decides about `command`; its verdict goes to `Client.decided`. `hook_questions` encodes `question`."""

    event: str
    command: Command
    question: bytes
    timeout_s: float
    allow_when_away: bool


@dataclass(frozen=True, slots=True)
class Connected:
    """The client is authenticated: subscribe it to these channels, send the reply, record that its session opened."""

    command_id: int
    result: ConnectResult
    attach_requests: list[AttachRequest]


@dataclass(frozen=True, slots=True)
class Unsubscribe:
    """Detach the client from a channel that it is subscribed to, then send the reply."""

    channel: str
    reply: Reply


@dataclass(frozen=True, slots=True)
class Publish:
    """Publish to a channel; the reply follows the broker's acknowledgement.

    `key` makes repeated publishes one; the reply then tells the position.
    """

    command_id: int
    channel: str
    rules: ChannelRules
    data: Raw
    info: ClientInfo
    tags: dict[str, str] | None = None
    skip_history: bool = False
    key: str = ""
    as_rpc: bool = False  # it came as the built-in RPC, and is answered as one


@dataclass(frozen=True, slots=True)
class ReadHistory:
    """Read the channel's log. `limit` 0 asks for the position only."""

    command_id: int
    channel: str
    rules: ChannelRules
    limit: int
    since: StreamPosition | None
    reverse: bool


@dataclass(frozen=True, slots=True)
class ReadPresence:
    """Ask all edges who is in the channel, or only how many."""

    command_id: int
    channel: str
    count_only: bool


@dataclass(frozen=True, slots=True)
class CallBackend:
    """Have a backend answer an RPC."""

    command_id: int
    method: str
    data: Raw


@dataclass(frozen=True, slots=True)
class SendToBackend:
    """Hand a message without an answer to whoever listens."""

    data: Raw


HookResult = (
    hook_results.ConnectHookResult
    | hook_results.SubscribeHookResult
    | hook_results.PublishHookResult
    | hook_results.RefreshHookResult
)
"""What comes back for an `AskHook`."""

Performed = AttachRequest | Connected | Publish | ReadHistory | ReadPresence | CallBackend | LearnKey | AskHook
"""Actions that wait for somebody else."""

Action = Nothing | Answer | Close | Unsubscribe | SendToBackend | Performed


@dataclass(frozen=True, slots=True)
class Ping:
    """Send a ping and expect a pong; `native`: of the WebSocket protocol, as the client asked for."""

    native: bool = False


@dataclass(frozen=True, slots=True)
class EndSubscription:
    """A subscription expired: tell the client."""

    channel: str


TimedAction = Nothing | Close | Ping | EndSubscription | AskHook


def error_reply(command_id: int, error: ErrorCode) -> Reply:
    """The reply that refuses a command."""
    return reply_to(command_id, Error(*error))
