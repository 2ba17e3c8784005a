"""What a session wants done. The connection carries effects out in their order, in one step without an await.

They live for that step only and are part of no cycle, so the garbage collector need not track them (`gc=False`).
"""

from __future__ import annotations

from typing import final

from msgspec import Raw, Struct

from proto.codes import CloseCode
from proto.events import SessionEvent
from proto.messages import StreamPosition
from proto.replies import Reply
from services.edge.backend.backend import Caller
from services.edge.channels.subscription import Subscription
from services.edge.session.actions import Action


@final
class Send(Struct, frozen=True, gc=False):
    """Write this reply or push. Those of one step go out together."""

    reply: Reply


@final
class Start(Struct, frozen=True, gc=False):
    """Begin an action. Its outcome goes to `Session.completed`; past `deadline` (Unix seconds) it has failed."""

    action: Action
    deadline: float


@final
class Admit(Struct, frozen=True, gc=False):
    """The client is authenticated: it counts as a connection of `user`, and backends may send it commands."""

    user: str


class Dismiss(Struct, frozen=True, gc=False):
    """It does not count any more."""

    user: str


class Flush(Struct, frozen=True, gc=False):
    """Push what was published in these channels so far: what follows must come behind it."""

    channels: tuple[str, ...]


class Detach(Struct, frozen=True, gc=False):
    """Nothing of these channels is pushed to the client any more."""

    channels: tuple[str, ...]


class Announce(Struct, frozen=True, gc=False):
    """Tell the channel that the client has joined."""

    channel: str
    subscription: Subscription


class HoldPushes(Struct, frozen=True, gc=False):
    """Push nothing until `CatchUp` or `ReleasePushes`: the reply to connect must come first."""


class ReleasePushes(Struct, frozen=True, gc=False):
    """The connect was refused: nothing is to be held back. Unless the socket is full, `caught_up` follows."""


class CatchUp(Struct, frozen=True, gc=False):
    """Push what each channel's log has behind these positions, as fast as the client takes it.

    Meanwhile the session is blocked; `Session.caught_up` ends that.
    """

    positions: dict[str, StreamPosition]


@final
class Record(Struct, frozen=True, gc=False):
    """Write this fact to the log of sessions."""

    event: SessionEvent


class Forward(Struct, frozen=True, gc=False):
    """Hand a client's message that wants no answer to the backends."""

    caller: Caller
    data: Raw


class LogRefusal(Struct, frozen=True, gc=False):
    """Log what was refused and why, not too often. `what` is one of a few texts."""

    what: str
    why: str


class PaceReading(Struct, frozen=True, gc=False):
    """Stop reading from the client, or go on."""

    paused: bool


class SendPing(Struct, frozen=True, gc=False):
    """Write a ping; `native`: one of the WebSocket protocol."""

    native: bool = False


@final
class Reschedule(Struct, frozen=True, gc=False):
    """`Session.deadline` may be sooner than it was."""


class Farewell(Struct, frozen=True, gc=False):
    """Tell the client why the connection ends, then close the transport."""

    close: CloseCode


class Ended(Struct, frozen=True, gc=False):
    """The session is over: nothing is sent any more. `code` is counted."""

    code: int
    user: str


FrequentEffect = Send | Start | Record | Reschedule | Admit
RareEffect = (
    Flush
    | Detach
    | Announce
    | LogRefusal
    | PaceReading
    | SendPing
    | Forward
    | HoldPushes
    | ReleasePushes
    | CatchUp
    | Dismiss
    | Farewell
    | Ended
)
Effect = FrequentEffect | RareEffect
