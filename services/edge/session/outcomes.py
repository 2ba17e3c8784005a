"""Outcomes of actions. The executor returns one for each action; `Session.completed` takes it."""

from __future__ import annotations

from typing import final

from msgspec import Struct

from proto.codes import ErrorCode
from proto.messages import StreamPosition
from proto.replies import Result, SubscribeResult
from services.edge.backend.hook_results import (
    ConnectHookResult,
    PublishHookResult,
    RefreshHookResult,
    SubscribeHookResult,
)

HookResult = ConnectHookResult | SubscribeHookResult | PublishHookResult | RefreshHookResult


@final
class Replied(Struct, frozen=True, gc=False):
    """The command is done. Its reply contains this result."""

    result: Result


class Attached(Struct, frozen=True, gc=False):
    """The client is attached to the channel: publications are pushed to it from now on.

    `position` is the position of the channel's log at that moment. It is None without history, and if the client was
    attached in the step of the reply, as no publication can then come between the two. If the result does not hold all
    that the client missed, `behind` is where it has to catch up from.
    """

    result: SubscribeResult
    position: StreamPosition | None = None
    behind: StreamPosition | None = None


class AttachedAll(Struct, frozen=True, gc=False):
    """The client is attached to all channels of a `Connect`, by name."""

    channels: dict[str, Attached]


class KeyLookedUp(Struct, frozen=True, gc=False):
    """The keys of tokens were read, or (`fresh` is False) could not be read: the key may be found later."""

    fresh: bool


class HookAnswered(Struct, frozen=True, gc=False):
    """A backend decided, or the settings did in its place."""

    result: HookResult


class Failed(Struct, frozen=True, gc=False):
    """The action was not done, and left nothing behind. `why` is for the log; `logged`: it has been logged already."""

    error: ErrorCode
    why: str = ""
    logged: bool = False


Outcome = Replied | Attached | AttachedAll | KeyLookedUp | HookAnswered | Failed
