"""The results of the server API's methods, their errors, and the table of all methods. Names are Centrifugo's."""

from __future__ import annotations

from typing import Annotated, Any, Final, NamedTuple

from msgspec import UNSET, Meta, Raw, Struct, UnsetType, json

from services.chassis.process.api_keys import ALL, PUBLISH, READ
from services.edge.rejection import Rejected
from services.edge.server_api.calls import (
    BatchCall,
    BroadcastCall,
    ChannelCall,
    ChannelsCall,
    DisconnectCall,
    HistoryCall,
    InfoCall,
    Json,
    PublishCall,
    RefreshCall,
    RpcCall,
    SendCall,
    SubscribeCall,
    UnsubscribeCall,
)


class BadCall(Rejected):
    """The body is not a call of this method: not JSON, or of another shape. Error 107; status 400 over HTTP."""


class UnknownMethod(Rejected):
    """There is no such method. Error 104; status 404 over HTTP."""


class Problem(Struct, frozen=True):
    """An error: its code and what was wrong."""

    code: int
    message: str


class Failure(Struct, frozen=True):
    """The answer to a call that failed."""

    error: Problem


class Empty(Struct, frozen=True):
    """Done."""


class PublishAnswer(Struct, frozen=True, omit_defaults=True):
    """The position at which the publication was stored; empty for a channel without history."""

    offset: int = 0
    epoch: str = ""


class PublishReply(Struct, frozen=True, omit_defaults=True):
    """The outcome in one channel: `result` or `error`."""

    result: PublishAnswer | None = None
    error: Problem | None = None


class BroadcastAnswer(Struct, frozen=True):
    """The outcome in each channel."""

    responses: Annotated[list[PublishReply], Meta(description="In the order of the channels.")]


class ConnectionInfo(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A client: its user, its client id, and the info that others see."""

    user: str | None = None
    client: str | None = None
    conn_info: Json | UnsetType = UNSET
    chan_info: Json | UnsetType = UNSET


class PresenceAnswer(Struct, frozen=True):
    """The clients in a channel, on all edges."""

    presence: Annotated[dict[str, ConnectionInfo], Meta(description="By client id.")]


class PresenceStatsAnswer(Struct, frozen=True):
    """The numbers of clients and users in a channel, on all edges."""

    num_clients: int
    num_users: Annotated[int, Meta(description="All anonymous clients are one user.")]


class KeptPublication(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One publication of a channel's history."""

    data: Annotated[Raw, Meta(description="null if the data is not JSON: it is in `b64data` then.")]
    b64data: str = ""
    offset: int
    info: Annotated[ConnectionInfo | None, Meta(description="The client that published it, if it was one.")] = None
    tags: dict[str, str] | None = None


class HistoryAnswer(Struct, frozen=True):
    """Publications that a channel keeps, and the position of its newest."""

    publications: list[KeptPublication]
    epoch: str
    offset: Annotated[int, Meta(description="The offset at which the history ends.")]


class ChannelAnswer(Struct, frozen=True):
    """A channel with subscribers."""

    num_clients: int


class ChannelsAnswer(Struct, frozen=True):
    """Channels with subscribers, by name."""

    channels: dict[str, ChannelAnswer]


class ProcessAnswer(Struct, frozen=True):
    """Figures of an edge's process."""

    rss: Annotated[int, Meta(description="Bytes.")]


class NodeAnswer(Struct, frozen=True):
    """One edge, as of its last heartbeat."""

    uid: str
    name: str
    version: str
    num_clients: int
    num_users: int
    num_channels: int
    num_subs: int
    uptime: Annotated[int, Meta(description="Seconds.")]
    process: ProcessAnswer


class InfoAnswer(Struct, frozen=True):
    """The edges that are alive."""

    nodes: list[NodeAnswer]


class RpcAnswer(Struct, frozen=True):
    """The backend's answer."""

    data: Json


class BatchAnswer(Struct, frozen=True):
    """This answer is not wrapped into `result`. Each reply is an object with the method and its result, or with
    `error`."""

    replies: Annotated[list[dict[str, Any]], Meta(description="In the order of the commands.")]


class Method(NamedTuple):
    """One row of the table of methods. `scope` is the scope, besides "all", of the API keys that reach the method."""

    call: type[Struct]
    answer: type[Struct]
    summary: str
    scope: str = ALL


METHODS: Final[dict[str, Method]] = {
    "publish": Method(PublishCall, PublishAnswer, "Publish to a channel", PUBLISH),
    "broadcast": Method(BroadcastCall, BroadcastAnswer, "Publish the same to several channels", PUBLISH),
    "subscribe": Method(SubscribeCall, Empty, "Subscribe a user's connections to a channel"),
    "unsubscribe": Method(UnsubscribeCall, Empty, "Unsubscribe a user's connections from a channel"),
    "disconnect": Method(DisconnectCall, Empty, "Close a user's connections"),
    "refresh": Method(RefreshCall, Empty, "Set when a user's connections expire"),
    "send": Method(SendCall, Empty, "Send a message to a user's connections, outside of any channel"),
    "presence": Method(ChannelCall, PresenceAnswer, "List the clients in a channel", READ),
    "presence_stats": Method(ChannelCall, PresenceStatsAnswer, "Count the clients and users in a channel", READ),
    "history": Method(HistoryCall, HistoryAnswer, "Read the publications that a channel keeps", READ),
    "history_remove": Method(ChannelCall, Empty, "Remove the publications that a channel keeps"),
    "channels": Method(ChannelsCall, ChannelsAnswer, "List the channels that have subscribers", READ),
    "info": Method(InfoCall, InfoAnswer, "List the edges that are alive", READ),
    "rpc": Method(RpcCall, RpcAnswer, "Call a backend, as a client's RPC does"),
    "batch": Method(BatchCall, BatchAnswer, "Run several commands in one request"),
}

BATCH: Final = "batch"
"""A batch needs a key that reaches each of its commands."""

NOT_OFFERED: Final = frozenset(
    ("map_publish", "map_remove", "map_read_state", "map_read_stream", "map_stats", "map_clear", "shared_poll_publish")
)
"""Centrifugo's other methods, for map channels. Answered with error 108."""

_encode = json.Encoder().encode


def problem(rejection: Rejected) -> Problem:
    """The error as an answer has it."""
    return Problem(rejection.error.code, str(rejection))


def encode_answer(answer: Struct | Rejected) -> bytes:
    """The body of an answer, over HTTP as over NATS."""
    if isinstance(answer, Rejected):
        return _encode(Failure(problem(answer)))
    return _encode(answer if isinstance(answer, BatchAnswer) else {"result": answer})
