"""The kinds of commands and what they are about, as metrics, traces and the log name them. Pure."""

from __future__ import annotations

from typing import Final, NamedTuple, assert_never

from proto.commands import (
    Command,
    ConnectRequest,
    HistoryRequest,
    PresenceRequest,
    PresenceStatsRequest,
    PublishRequest,
    RefreshRequest,
    RPCRequest,
    SendRequest,
    SubRefreshRequest,
    SubscribeRequest,
    UnsubscribeRequest,
    request_of,
)
from proto.replies import Reply
from services.edge.channels.subscription import AttachRequest
from services.edge.session.actions import (
    Action,
    AskHook,
    CallBackend,
    Connect,
    LookUpKey,
    Publish,
    ReadHistory,
    ReadPresence,
)
from services.edge.session.decisions import Close, Decision
from services.edge.session.policy import Policy

UNKNOWN: Final = "unknown"
"""A command without a request."""

_OF_REQUEST: Final = {
    PublishRequest: "publish",
    SubscribeRequest: "subscribe",
    RPCRequest: "rpc",
    ConnectRequest: "connect",
    UnsubscribeRequest: "unsubscribe",
    HistoryRequest: "history",
    PresenceRequest: "presence",
    PresenceStatsRequest: "presence_stats",
    RefreshRequest: "refresh",
    SubRefreshRequest: "sub_refresh",
    SendRequest: "send",
}
KINDS: Final = tuple(_OF_REQUEST.values())
_WITH_REPLY: Final = tuple(kind for kind in KINDS if kind != "send")


def kind_of(command: Command) -> str:
    """The kind of a command; one of a few words."""
    return _OF_REQUEST.get(type(request_of(command)), UNKNOWN)  # type: ignore[arg-type]  # None is not in it


class Aim(NamedTuple):
    """What a command is about: a channel, or the method of an RPC; "" where it has none."""

    channel: str = ""
    method: str = ""


NO_AIM: Final = Aim()


def aim_of(command: Command) -> Aim:
    """What a command is about, as the client wrote it."""
    request = request_of(command)
    return Aim(getattr(request, "channel", ""), getattr(request, "method", ""))


def aim_behind(action: Action) -> Aim:
    """What the command behind an action is about."""
    if isinstance(action, LookUpKey | AskHook):
        return aim_of(action.command)
    return Aim(getattr(action, "channel", ""), getattr(action, "method", ""))


def kind_behind(action: Action) -> str:
    """The kind of the command behind an action."""
    match action:
        case AttachRequest():
            return "subscribe"
        case Publish():
            return "rpc" if action.as_rpc else "publish"
        case CallBackend():
            return "rpc"
        case Connect():
            return "connect"
        case ReadHistory():
            return "history"
        case ReadPresence():
            return "presence_stats" if action.count_only else "presence"
        case LookUpKey() | AskHook():
            return kind_of(action.command)
        case unreachable:
            assert_never(unreachable)


def answered_by(reply: Reply) -> str:
    """The kind of the command that a reply with a result answers. On one-way transports the connect is a push."""
    for kind in _WITH_REPLY:  # the most frequent ones first
        if getattr(reply, kind) is not None:
            return kind
    return "connect"


def count_close(policy: Policy, command: Command, decision: Decision) -> None:
    """Counts a command that the decision answers by ending the connection."""
    if type(decision) is Close:
        policy.count(kind_of(command), decision.close.code)
