"""The messages of the Centrifuge client protocol (v2), as frozen structs: one set of types for all encodings.

Field names are the JSON names; `codec_protobuf` holds their numbers. A field that is absent has its default, and a
default is left out when encoding; the structs declared without ``omit_defaults`` are those whose fields SDKs read even
when they are zero. `Raw` holds the bytes of a payload, which are passed on and never decoded: in JSON an embedded
value, in Protobuf any bytes. Map and shared-poll subscriptions are not offered, so their fields are not here.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import UNSET, Meta, Raw, Struct, UnsetType

Uint32 = Annotated[int, Meta(ge=0, le=2**32 - 1)]
Uint64 = Annotated[int, Meta(ge=0)]  # msgspec has no upper bound beyond int64; JetStream sequences stay below it
Int32 = Annotated[int, Meta(ge=-(2**31), le=2**31 - 1)]

NO_DATA = Raw(b"")


class Message(Struct, frozen=True, omit_defaults=True):
    """Base of all messages: immutable, and silent about defaults."""


# --- shared objects -------------------------------------------------------------------------------------------------


class ClientInfo(Struct, frozen=True, omit_defaults=True):
    """Who published: a user and one of its connections."""

    user: str | UnsetType = UNSET  # "" is the anonymous user; present even then, hence UNSET as the default
    client: str | UnsetType = UNSET
    conn_info: Raw = NO_DATA
    chan_info: Raw = NO_DATA


class Publication(Message, frozen=True):
    """One message of a channel. `offset` is its position in the channel's log, 0 where there is no history."""

    data: Raw
    info: ClientInfo | None = None
    offset: Uint64 = 0
    tags: dict[str, str] | None = None
    delta: bool = False  # data is a Fossil delta against the channel's previous publication


class StreamPosition(Message, frozen=True):
    """A place in a channel's log: an offset, and the epoch (the identity of the log) in which it means something."""

    offset: Uint64 = 0
    epoch: str = ""


class Error(Message, frozen=True):
    """An error reply; the connection goes on. Both `code` and `message` are never empty (SDKs index them)."""

    code: Uint32
    message: str
    temporary: bool = False


class FilterNode(Message, frozen=True):
    """A tags filter: a comparison (`op` ""), or "and", "or", "not" over `nodes`. See the edge's `tags_filter`."""

    op: str = ""
    key: str = ""
    cmp: str = ""
    val: str = ""
    vals: list[str] = []
    nodes: list[FilterNode] = []


# --- client to server -----------------------------------------------------------------------------------------------


class SubscribeRequest(Message, frozen=True):
    channel: str = ""
    token: str = ""
    recover: bool = False
    epoch: str = ""
    offset: Uint64 = 0
    data: Raw = NO_DATA
    positioned: bool = False
    recoverable: bool = False
    join_leave: bool = False
    delta: str = ""
    flag: int = 0
    tf: FilterNode | None = None
    type: Int32 = 0


class ConnectRequest(Message, frozen=True):
    token: str = ""
    data: Raw = NO_DATA
    subs: dict[str, SubscribeRequest] = {}
    name: str = ""
    version: str = ""
    headers: dict[str, str] = {}


class UnsubscribeRequest(Message, frozen=True):
    channel: str = ""


class PublishRequest(Message, frozen=True):
    """`idempotency_key` is Fairlead's own: a publish that is repeated with it is stored once."""

    channel: str = ""
    data: Raw = NO_DATA
    type: Int32 = 0
    idempotency_key: str = ""


class PresenceRequest(Message, frozen=True):
    channel: str = ""


class PresenceStatsRequest(Message, frozen=True):
    channel: str = ""


class HistoryRequest(Message, frozen=True):
    channel: str = ""
    limit: Int32 = 0
    since: StreamPosition | None = None
    reverse: bool = False


class SendRequest(Message, frozen=True):
    data: Raw = NO_DATA


class RPCRequest(Message, frozen=True):
    data: Raw = NO_DATA
    method: str = ""


class RefreshRequest(Message, frozen=True):
    token: str = ""


class SubRefreshRequest(Message, frozen=True):
    channel: str = ""
    token: str = ""
    type: Int32 = 0


class EmulationRequest(Message, frozen=True):
    """Commands of a client whose replies go out on an HTTP stream: they may arrive on any edge. `data` is a frame."""

    node: str = ""
    session: str = ""
    data: Raw = NO_DATA


class Command(Message, frozen=True):
    """What a client says. Not a oneof: the first request that is present, in this order, is the one that counts."""

    id: Uint32 = 0
    connect: ConnectRequest | None = None
    subscribe: SubscribeRequest | None = None
    unsubscribe: UnsubscribeRequest | None = None
    publish: PublishRequest | None = None
    presence: PresenceRequest | None = None
    presence_stats: PresenceStatsRequest | None = None
    history: HistoryRequest | None = None
    rpc: RPCRequest | None = None
    send: SendRequest | None = None
    refresh: RefreshRequest | None = None
    sub_refresh: SubRefreshRequest | None = None


Request = (
    ConnectRequest
    | SubscribeRequest
    | UnsubscribeRequest
    | PublishRequest
    | PresenceRequest
    | PresenceStatsRequest
    | HistoryRequest
    | RPCRequest
    | SendRequest
    | RefreshRequest
    | SubRefreshRequest
)

_REQUESTS = tuple(name for name in Command.__struct_fields__ if name != "id")


def request_of(command: Command) -> Request | None:
    """The request that `command` carries, None when it carries none (a pong, if it has no id either)."""
    for name in _REQUESTS:
        request: Request | None = getattr(command, name)
        if request is not None:
            return request
    return None


# --- server to client -----------------------------------------------------------------------------------------------


class SubscribeResult(Message, frozen=True):
    expires: bool = False
    ttl: Uint32 = 0
    recoverable: bool = False
    epoch: str = ""
    publications: list[Publication] = []
    recovered: bool = False
    offset: Uint64 = 0
    positioned: bool = False
    data: Raw = NO_DATA
    was_recovering: bool = False
    delta: bool = False


class ConnectResult(Message, frozen=True):
    """`session` and `node` are for clients whose commands come by other requests than their stream."""

    client: str
    version: str
    expires: bool = False
    ttl: Uint32 = 0
    data: Raw = NO_DATA
    subs: dict[str, SubscribeResult] = {}
    ping: Uint32 = 0
    pong: bool = False
    session: str = ""
    node: str = ""


class Connect(ConnectResult, frozen=True):
    """The same as a push, first on a unidirectional transport (its field numbers are others)."""


class UnsubscribeResult(Message, frozen=True):
    pass


class PublishResult(Message, frozen=True):
    """Empty, but for a publish with an idempotency key: that one is told its position (Fairlead's own fields)."""

    offset: Uint64 = 0
    epoch: str = ""


class PresenceResult(Struct, frozen=True):
    """The members of a channel by client id. Present even when empty."""

    presence: dict[str, ClientInfo]


class PresenceStatsResult(Struct, frozen=True):
    """Present even when zero. `num_users` counts distinct user ids; all anonymous clients are one user."""

    num_clients: Uint32
    num_users: Uint32


class HistoryResult(Struct, frozen=True):
    """Every field is present even when zero."""

    publications: list[Publication]
    epoch: str
    offset: Uint64


class RPCResult(Message, frozen=True):
    data: Raw = NO_DATA


class RefreshResult(Message, frozen=True):
    client: str = ""
    version: str = ""
    expires: bool = False
    ttl: Uint32 = 0


class SubRefreshResult(Message, frozen=True):
    expires: bool = False
    ttl: Uint32 = 0


class Join(Message, frozen=True):
    info: ClientInfo


class Leave(Message, frozen=True):
    info: ClientInfo


class Unsubscribe(Message, frozen=True):
    """The server ended a subscription. `reason` is never empty."""

    code: Uint32
    reason: str


class Subscribe(Message, frozen=True):
    """The server added a subscription."""

    recoverable: bool = False
    epoch: str = ""
    offset: Uint64 = 0
    positioned: bool = False
    data: Raw = NO_DATA


class AsyncMessage(Message, frozen=True):
    """A message to a connection, of no channel (`Message` in the schema)."""

    data: Raw = NO_DATA


class Disconnect(Message, frozen=True):
    """The end of a connection, where no WebSocket close frame can say it. `reason` is never empty."""

    code: Uint32
    reason: str


class Refresh(Message, frozen=True):
    """The connection's expiry was changed by a backend."""

    expires: bool = False
    ttl: Uint32 = 0


class Push(Message, frozen=True):
    """What the server says unasked; inside of a `Reply`, or alone on a unidirectional transport."""

    channel: str = ""
    pub: Publication | None = None
    join: Join | None = None
    leave: Leave | None = None
    unsubscribe: Unsubscribe | None = None
    message: AsyncMessage | None = None
    subscribe: Subscribe | None = None
    connect: Connect | None = None  # unidirectional transports only
    disconnect: Disconnect | None = None  # not on a bidirectional WebSocket, whose close frame says it
    refresh: Refresh | None = None


class Reply(Message, frozen=True):
    """What the server says: the answer to the command with this `id`, a push (no id), or a ping (nothing at all)."""

    id: Uint32 = 0
    error: Error | None = None
    push: Push | None = None
    connect: ConnectResult | None = None
    subscribe: SubscribeResult | None = None
    unsubscribe: UnsubscribeResult | None = None
    publish: PublishResult | None = None
    presence: PresenceResult | None = None
    presence_stats: PresenceStatsResult | None = None
    history: HistoryResult | None = None
    rpc: RPCResult | None = None
    refresh: RefreshResult | None = None
    sub_refresh: SubRefreshResult | None = None


Result = (
    ConnectResult
    | SubscribeResult
    | UnsubscribeResult
    | PublishResult
    | PresenceResult
    | PresenceStatsResult
    | HistoryResult
    | RPCResult
    | RefreshResult
    | SubRefreshResult
)

_RESULT_FIELD: dict[type[Result], str] = {
    ConnectResult: "connect",
    SubscribeResult: "subscribe",
    UnsubscribeResult: "unsubscribe",
    PublishResult: "publish",
    PresenceResult: "presence",
    PresenceStatsResult: "presence_stats",
    HistoryResult: "history",
    RPCResult: "rpc",
    RefreshResult: "refresh",
    SubRefreshResult: "sub_refresh",
}


def reply_to(command_id: int, answer: Result | Error) -> Reply:
    """The reply to a command: its result (present even when empty), or an error."""
    if isinstance(answer, Error):
        return Reply(id=command_id, error=answer)
    return Reply(id=command_id, **{_RESULT_FIELD[type(answer)]: answer})  # type: ignore[arg-type]  # one field of the table
