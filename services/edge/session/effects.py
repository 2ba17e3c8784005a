"""Effects: what a session tells its connection to do. The connection carries them out in order, without an await.

They live for that step only and are part of no cycle, so the garbage collector need not track them (`gc=False`).
"""

from __future__ import annotations

from typing import final

from msgspec import Raw, Struct

from proto import codes
from proto.codes import CloseCode, ErrorCode
from proto.events import Closed, SessionEvent
from proto.messages import StreamPosition
from proto.replies import Reply
from proto.trace_context import TraceContext
from services.chassis.tracing.span import Span
from services.edge.backend.backend import Caller
from services.edge.channels.subscription import Subscription
from services.edge.session.actions import Action


@final
class Send(Struct, frozen=True, gc=False):
    """Write this reply or push. The replies and pushes of one step are written together."""

    reply: Reply


@final
class Start(Struct, frozen=True, gc=False):
    """Start an action. Its outcome goes to `Session.completed`; after `deadline` it fails."""

    action: Action
    deadline: float


@final
class Admit(Struct, frozen=True, gc=False):
    """Count the connection as one of `user`, who is authenticated: backends may send it commands."""

    user: str


class CloseOthers(Struct, frozen=True, gc=False):
    """Close the user's connections, on all edges, that were let in before this one: before `admitted_at`, in Unix
    milliseconds.
    """

    user: str
    admitted_at: int


class Dismiss(Struct, frozen=True, gc=False):
    """Stop counting the connection as one of `user`."""

    user: str


class Flush(Struct, frozen=True, gc=False):
    """Write the pending publications of these channels, ahead of what follows."""

    channels: tuple[str, ...]


class Detach(Struct, frozen=True, gc=False):
    """Stop pushing these channels to the client."""

    channels: tuple[str, ...]


class Announce(Struct, frozen=True, gc=False):
    """Send the client's join to the channel."""

    channel: str
    subscription: Subscription


class HoldPushes(Struct, frozen=True, gc=False):
    """Push nothing until `CatchUp` or `ReleasePushes`: the reply to connect must come first."""


class ReleasePushes(Struct, frozen=True, gc=False):
    """Stop holding pushes, as the connect was refused. If the socket has been full, `caught_up` follows later."""


class CatchUp(Struct, frozen=True, gc=False):
    """Push the publications after these positions of each channel's log, as fast as the client takes them.

    Meanwhile the session is blocked; `Session.caught_up` ends that.
    """

    positions: dict[str, StreamPosition]


@final
class Record(Struct, frozen=True, gc=False):
    """Write this fact to the session log. `trace`: the span of the command that caused it, if that is traced."""

    event: SessionEvent
    trace: TraceContext | None = None


class Forward(Struct, frozen=True, gc=False):
    """Forward a client's message to the backends, which do not answer it. `trace`: the span of its command."""

    caller: Caller
    data: Raw
    trace: Span | None = None


class RecordRefusal(Struct, frozen=True, gc=False):
    """Write to the session log that the client was refused, at a bounded rate: the fields are those of
    `proto.events.Refused`."""

    action: str
    code: int
    reason: str
    channel: str = ""


class LogRefusal(Struct, frozen=True, gc=False):
    """Log a refusal, at a bounded rate for each kind. `what` is its kind, one of a few texts.

    `code` is what the client gets, `channel` or `method` what it asked for. `trace`: the span of the command that is
    refused, if that is traced.
    """

    what: str
    why: str
    code: int = 0
    channel: str = ""
    method: str = ""
    trace: Span | None = None


class PaceReading(Struct, frozen=True, gc=False):
    """Stop or resume reading from the client."""

    paused: bool


class AwaitTurn(Struct, frozen=True, gc=False):
    """Call `Session.turn` in a later turn of the event loop: more commands wait than one turn may take."""


class SendPing(Struct, frozen=True, gc=False):
    """Write a ping; `native`: one of the WebSocket protocol."""

    native: bool = False


@final
class Reschedule(Struct, frozen=True, gc=False):
    """Set the timer again: `Session.deadline` may be earlier than before."""


class Farewell(Struct, frozen=True, gc=False):
    """Send the close code and its reason to the client, then close the transport."""

    close: CloseCode


class Ended(Struct, frozen=True, gc=False):
    """Write nothing any more, as the session is over, and count `code`."""

    code: int
    user: str


class EndSpan(Struct, frozen=True, gc=False):
    """The command that this span traces is done."""

    span: Span


FrequentEffect = Send | Start | Record | Reschedule | Admit
RareEffect = (
    Flush
    | Detach
    | Announce
    | RecordRefusal
    | LogRefusal
    | PaceReading
    | AwaitTurn
    | SendPing
    | Forward
    | HoldPushes
    | ReleasePushes
    | CatchUp
    | Dismiss
    | CloseOthers
    | Farewell
    | Ended
    | EndSpan
)
Effect = FrequentEffect | RareEffect


def refusal(action: str, error: ErrorCode, channel: str = "", why: str = "") -> RecordRefusal:
    """Records in the session log that a command is answered with this error. The reason is the error's own text, except
    for bad requests: their code stands for many mistakes, so the reason is `why` if there is one.
    """
    tells = error.code != codes.BAD_REQUEST.code or not why
    return RecordRefusal(action, error.code, error.message if tells else why, channel)


def ends_something(effect: Effect) -> bool:
    """Whether the effect ends or undoes something: it then applies even if nothing can be sent to the client."""
    if isinstance(effect, Record):
        return isinstance(effect.event, Closed)
    return isinstance(effect, Detach | Dismiss | Farewell | Ended)
