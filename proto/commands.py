"""What clients send: a `Command` with one request, or on a unidirectional transport a bare `ConnectRequest`."""

from __future__ import annotations

from msgspec import Raw

from proto.messages import NO_DATA, FilterNode, Int32, Message, StreamPosition, Uint32, Uint64


class SubscribeRequest(Message, frozen=True):
    """Subscribe to a channel, and receive what was missed since a position."""

    channel: str = ""
    token: str = ""
    """A subscription token (JWT), "" if the namespace or a hook decides."""
    recover: bool = False
    """Whether the client has a position, (`epoch`, `offset`), and wants the publications after it."""
    epoch: str = ""
    """The last epoch that the client saw; "" stands for any."""
    offset: Uint64 = 0
    """The last offset that the client saw."""
    data: Raw = NO_DATA
    """Custom data, for the subscribe hook."""
    positioned: bool = False
    """Whether the client asks for a subscription that ends with 2500 if anything is lost."""
    recoverable: bool = False
    """Whether the client asks for a position that it can recover from later."""
    join_leave: bool = False
    """Whether the client asks for joins and leaves."""
    delta: str = ""
    """The kind of deltas that the client accepts: "fossil", or "" for none."""
    flag: int = 0
    """Bits. 1: the client accepts numbers instead of channel names, which are not offered; all current SDKs set it. 2:
    answer a failed recovery with error 112, instead of a subscription with `recovered: false`."""
    tf: FilterNode | None = None
    """A tags filter: the client receives only publications whose tags match."""
    type: Int32 = 0
    """0 for a stream, the only kind that is offered. 1 to 3 (maps) are answered with error 103, 4 (shared poll) with
    108."""


class ConnectRequest(Message, frozen=True):
    """The first command of a connection."""

    token: str = ""
    """A connection token (JWT), "" if a hook decides, or for an anonymous client."""
    data: Raw = NO_DATA
    """Custom data, for the connect hook."""
    subs: dict[str, SubscribeRequest] = {}  # noqa: RUF012 - msgspec copies mutable defaults
    """By channel: the positions from which server-side subscriptions are recovered. On a unidirectional transport also
    the subscriptions that the client asks for."""
    name: str = ""
    """The name of the SDK or application, such as "js"."""
    version: str = ""
    """The version of that software."""
    headers: dict[str, str] = {}  # noqa: RUF012 - msgspec copies mutable defaults
    """HTTP headers that a browser cannot set: for the connect hook, and `traceparent` for the client's own trace."""


class UnsubscribeRequest(Message, frozen=True):
    """End a subscription. It also succeeds if the client is not subscribed."""

    channel: str = ""


class PublishRequest(Message, frozen=True):
    """Publish to a channel."""

    channel: str = ""
    data: Raw = NO_DATA
    type: Int32 = 0
    """0 for a publication, the only kind that is offered (1 is a publication to a map)."""
    idempotency_key: str = ""
    """Fairlead's own field: a publish that is repeated with the same key is stored once."""


class PresenceRequest(Message, frozen=True):
    """List the members of a channel."""

    channel: str = ""


class PresenceStatsRequest(Message, frozen=True):
    """Count the members of a channel."""

    channel: str = ""


class HistoryRequest(Message, frozen=True):
    """Read the history of a channel."""

    channel: str = ""
    limit: Int32 = 0
    """The most publications to return: 0 for none, only the position; negative for as many as the edge permits."""
    since: StreamPosition | None = None
    """Only publications after this position, or before it if `reverse` is set."""
    reverse: bool = False
    """Whether the newest publication comes first."""


class SendRequest(Message, frozen=True):
    """Send a message to the backend. There is no reply, so the command needs no id."""

    data: Raw = NO_DATA


class RPCRequest(Message, frozen=True):
    """Call a method of the backend."""

    data: Raw = NO_DATA
    method: str = ""
    """The method's name, which becomes the subject `rpc.<method>`."""


class RefreshRequest(Message, frozen=True):
    """Prolong the connection with a new connection token."""

    token: str = ""


class SubRefreshRequest(Message, frozen=True):
    """Prolong a subscription with a new subscription token."""

    channel: str = ""
    token: str = ""
    type: Int32 = 0
    """0 for a token, the only kind that is offered (1 and 2 are for shared polls)."""


class EmulationRequest(Message, frozen=True):
    """Commands of a client that receives its replies on an HTTP stream. It may reach any edge."""

    node: str = ""
    """The instance of the edge that holds the stream, from the connect result."""
    session: str = ""
    """The secret that names the stream, from the connect result."""
    data: Raw = NO_DATA
    """A frame of commands."""


class Command(Message, frozen=True):
    """One command of a client. It is not a oneof: if there are several requests, the first in this order counts."""

    id: Uint32 = 0
    """Chosen by the client and repeated in the reply. 0 only for `send`, and for a pong, which has no request."""
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
    """The request of `command`. None if there is none: without an id the command is then a pong."""
    for name in _REQUESTS:
        request: Request | None = getattr(command, name)
        if request is not None:
            return request
    return None
