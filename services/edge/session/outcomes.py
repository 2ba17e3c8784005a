"""What came of an action. The executor returns one outcome for each action; `Session.completed` takes it."""

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
    """The command is done, and this is the result in its reply."""

    result: Result


class Attached(Struct, frozen=True, gc=False):
    """The client is attached to the channel: what is published from now on is pushed to it.

    `position` is where the channel's log stood in that step; None without history, and where the step was one with the
    reply, so that nothing can have come in between.
    """

    result: SubscribeResult
    position: StreamPosition | None = None


class AttachedAll(Struct, frozen=True, gc=False):
    """The client is attached to all channels of a `Connect`, by name."""

    channels: dict[str, Attached]


class KeyLookedUp(Struct, frozen=True, gc=False):
    """The keys of tokens were read. `fresh` is False when they could not be: the key may be found later."""

    fresh: bool


class HookAnswered(Struct, frozen=True, gc=False):
    """A backend decided, or the settings did in its place."""

    result: HookResult


class Failed(Struct, frozen=True, gc=False):
    """The action was not done, and left nothing behind. `why` is for the log."""

    error: ErrorCode
    why: str = ""


Outcome = Replied | Attached | AttachedAll | KeyLookedUp | HookAnswered | Failed
