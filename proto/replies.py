"""What clients receive: a `Reply` with a command's result or a push; on a unidirectional transport only a `Push`."""

from __future__ import annotations

from msgspec import Raw, Struct

from proto.messages import NO_DATA, ClientInfo, Error, Message, Publication, Uint32, Uint64


class SubscribeResult(Message, frozen=True):
    """A subscription was made."""

    expires: bool = False
    """Whether the subscription expires, so that the client has to refresh it."""
    ttl: Uint32 = 0
    """Seconds until then, at least 1 if `expires` is set."""
    recoverable: bool = False
    """Whether the client may recover later: it then keeps `epoch` and its last offset."""
    epoch: str = ""
    publications: list[Publication] = []  # noqa: RUF012 - msgspec copies mutable defaults
    """The recovered publications, oldest first."""
    recovered: bool = False
    """Whether nothing was lost since the client's position: `publications` are all publications after it."""
    offset: Uint64 = 0
    """After a recovery the request's own offset, so that an interrupted delivery is repeated; otherwise the newest."""
    positioned: bool = False
    """Whether the subscription ends with 2500 if anything is lost."""
    data: Raw = NO_DATA
    """Custom data, from the token, hook or server API that allowed the subscription."""
    was_recovering: bool = False
    """Whether the client had asked to recover."""
    delta: bool = False
    """Whether publications may come as deltas."""


class ConnectResult(Message, frozen=True):
    """A connection was accepted."""

    client: str
    """The client id: unique, made by the edge."""
    version: str
    """The server's name and version."""
    expires: bool = False
    """Whether the connection expires, so that the client has to refresh it."""
    ttl: Uint32 = 0
    """Seconds until then, at least 1 if `expires` is set."""
    data: Raw = NO_DATA
    """Custom data, from the connect hook."""
    subs: dict[str, SubscribeResult] = {}  # noqa: RUF012 - msgspec copies mutable defaults
    """The server-side subscriptions, by channel."""
    ping: Uint32 = 0
    """Seconds between the server's pings, 0 for none."""
    pong: bool = False
    """Whether the client must answer pings."""
    session: str = ""
    """For clients on HTTP streams: the secret that names the stream in an `EmulationRequest`."""
    node: str = ""
    """For clients on HTTP streams: the edge that holds the stream."""
    time: Uint64 = 0
    """The edge's wall clock, in Unix time in milliseconds; 0 if it is not given."""


class Connect(ConnectResult, frozen=True):
    """A connect result as a push, the first one on a unidirectional transport. In Protobuf its field numbers differ."""


class UnsubscribeResult(Message, frozen=True):
    """The subscription has ended."""


class PublishResult(Message, frozen=True):
    """The publication was accepted. Empty, except after a publish with an idempotency key: then it has the position
    (Fairlead's own fields)."""

    offset: Uint64 = 0
    epoch: str = ""


class PresenceResult(Struct, frozen=True):
    """The members of a channel by client id. The field is encoded even if it is empty."""

    presence: dict[str, ClientInfo]


class PresenceStatsResult(Struct, frozen=True):
    """How many clients and distinct users are in a channel. All anonymous clients count as one user. Encoded even if
    zero."""

    num_clients: Uint32
    num_users: Uint32


class HistoryResult(Struct, frozen=True):
    """Publications of a channel's history, and the position of its newest one. Every field is encoded even if zero."""

    publications: list[Publication]
    epoch: str
    offset: Uint64


class RPCResult(Message, frozen=True):
    """The backend's answer to an RPC."""

    data: Raw = NO_DATA


class RefreshResult(Message, frozen=True):
    """The connection was prolonged. Fields as in `ConnectResult`."""

    client: str = ""
    version: str = ""
    expires: bool = False
    ttl: Uint32 = 0


class SubRefreshResult(Message, frozen=True):
    """The subscription was prolonged. Fields as in `SubscribeResult`."""

    expires: bool = False
    ttl: Uint32 = 0


class Join(Message, frozen=True):
    """A client subscribed to the channel."""

    info: ClientInfo


class Leave(Message, frozen=True):
    """A client is no longer subscribed to the channel."""

    info: ClientInfo


class Unsubscribe(Message, frozen=True):
    """The server ended a subscription. `reason` is never empty."""

    code: Uint32
    reason: str


class Subscribe(Message, frozen=True):
    """The server added a subscription. Fields as in `SubscribeResult`."""

    recoverable: bool = False
    epoch: str = ""
    offset: Uint64 = 0
    positioned: bool = False
    data: Raw = NO_DATA


class AsyncMessage(Message, frozen=True):
    """A message to the connection, outside any channel (`Message` in the protocol's schema)."""

    data: Raw = NO_DATA


class Disconnect(Message, frozen=True):
    """The connection ends. Only for transports without a close frame, and `uni_websocket`. `reason` is never empty."""

    code: Uint32
    reason: str


class Refresh(Message, frozen=True):
    """A backend has changed when the connection expires. Fields as in `ConnectResult`."""

    expires: bool = False
    ttl: Uint32 = 0


class Push(Message, frozen=True):
    """A message that the client did not ask for: inside a `Reply`, or alone on a unidirectional transport."""

    channel: str = ""
    pub: Publication | None = None
    join: Join | None = None
    leave: Leave | None = None
    unsubscribe: Unsubscribe | None = None
    message: AsyncMessage | None = None
    subscribe: Subscribe | None = None
    connect: Connect | None = None  # unidirectional transports only
    disconnect: Disconnect | None = None  # not on a bidirectional WebSocket, which has a close frame
    refresh: Refresh | None = None


class Reply(Message, frozen=True):
    """A message to a client: the reply to the command with this `id`, a push (no id), or a ping (no field at all)."""

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
    """The reply to a command: its result (encoded even if empty), or an error."""
    if isinstance(answer, Error):
        return Reply(id=command_id, error=answer)
    return Reply(id=command_id, **{_RESULT_FIELD[type(answer)]: answer})  # type: ignore[arg-type]  # one field of the table
