"""Facts about sessions, as the `SESSIONS` stream keeps them: written once, versioned, never edited.

An edge writes its facts in order, in batches of one stream message each. The batch's number is part of its message id,
so a batch that is sent twice is stored once. A *connection* is one client connection, named by its client id. From
these facts the sessions service decides to which *session* a connection belongs.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Annotated, Final
from urllib.parse import quote

from msgspec import UNSET, DecodeError, Meta, Struct, UnsetType, json

from proto.codes import client_reconnects
from proto.messages import Uint32
from proto.trace_context import TraceContext, decode_context, encode_parent

EVENTS_VERSION = 1

MAX_VERSION: Final = 1000
"""A higher version is taken for nonsense: a reader waits to be upgraded for a version that it does not know yet, and
must not wait for ever."""

MAX_NATURAL: Final = 2**63 - 1
"""The largest number in a fact: what a column of PostgreSQL can hold."""

MAX_COUNT: Final = 2**32 - 1
"""The largest count in a fact, for example of refusals. The read models add such counts up: an absurd one would leave
no room in the sum, so that every later fact that adds to it would be refused."""

Int64 = Annotated[int, Meta(ge=-(2**63), le=MAX_NATURAL)]
Natural = Annotated[int, Meta(ge=0, le=MAX_NATURAL)]
Number = Annotated[int, Meta(ge=1, le=MAX_NATURAL)]
Count = Annotated[int, Meta(ge=0, le=MAX_COUNT)]
"""A batch with a number out of these bounds is not valid."""

LOG_MAX_AGE_S: Final = 7 * 24 * 3600.0
"""How long the stream keeps facts by default: how long PostgreSQL may be unavailable, and how far back a read model can
be rebuilt. The sessions service may be configured otherwise; an edge that creates the stream uses this."""

LOG_MAX_BYTES: Final = 1024**3
"""What NATS reserves for the stream by default: room for 7 million facts. When it is full, the oldest facts are
removed, which were folded long ago unless PostgreSQL was unavailable all the time. Refusing new facts instead would
lose them, only to keep facts that are already folded."""

LOG_DUPLICATE_WINDOW_S: Final = 120.0
"""How long JetStream recognizes repeated batches and drops them. The sessions service drops later repetitions, by their
number."""


class Event(Struct, frozen=True, omit_defaults=True, tag_field="type", gc=False):
    """Base of all facts. `at` is when it happened, in Unix time in milliseconds."""

    at: Int64


class Opened(Event, frozen=True, tag="opened", gc=False):
    """A client connected and was authenticated. `user` is "" for an anonymous client.

    `encoding` is "json" or "protobuf". `address`, `transport`, `user_agent` and `origin` are given if the edge's
    settings say so (`client.session_event_details`), and are "" otherwise; `client.session_addresses` decides whether
    the address is given in full, truncated to its network, or as a keyed digest.
    """

    connection: str
    user: str = ""
    session_key: str = ""  # the token's `sid`, which tells several devices of one user apart; "" if there is none
    client_name: str = ""
    client_version: str = ""
    address: str = ""
    transport: str = ""
    user_agent: str = ""
    origin: str = ""
    encoding: str = ""


class Refused(Event, frozen=True, tag="refused", gc=False):
    """A client was refused: `action` is what it wanted ("connect", "subscribe", "publish", ...), `code` an error or
    close code of `proto.codes`, `reason` its text.

    The client is described as far as it is known. Beyond a certain rate an edge sums refusals up: one fact then stands
    for `count` refusals of the same action and code, the last of them `at`. All of them concern this user, or this
    connection if there is no user; fields in which they differ are left out. Beyond a limit, user and connection are
    left out too.
    """

    action: str
    code: Uint32
    reason: str = ""
    connection: str = ""
    user: str = ""
    channel: str = ""
    client_name: str = ""
    client_version: str = ""
    address: str = ""
    transport: str = ""
    user_agent: str = ""
    origin: str = ""
    count: Annotated[int, Meta(ge=1, le=MAX_COUNT)] = 1


class Subscribed(Event, frozen=True, tag="subscribed", gc=False):
    """A client subscribed to a channel, and is at `offset` in it.

    `recovered` is None if the client did not ask for recovery. Otherwise the client had reached the offset
    `recovered_from`. True: it got all `recovered_count` publications since then; False: it was informed of a gap.
    """

    connection: str
    channel: str
    recovered: bool | None = None
    offset: Natural = 0
    recovered_from: Natural = 0
    recovered_count: Count = 0


class Unsubscribed(Event, frozen=True, tag="unsubscribed", gc=False):
    """A subscription ended, by the client (code 0) or by the server (a code of `proto.codes`). `by` as in `Closed`."""

    connection: str
    channel: str
    code: Uint32 = 0
    by: str = ""
    reason: str = ""


class Refreshed(Event, frozen=True, tag="refreshed", gc=False):
    """A connection, or with `channel` one of its subscriptions, got a new expiry: `expires_at`, in Unix milliseconds, 0
    if it no longer expires."""

    connection: str
    channel: str = ""
    expires_at: Natural = 0


class Lagged(Event, frozen=True, tag="lagged", gc=False):
    """A client does not take what is sent to it: `waiting` bytes wait for its socket."""

    connection: str
    waiting: Natural = 0


class CaughtUp(Event, frozen=True, tag="caught_up", gc=False):
    """A client that lagged has received everything, `lagged_ms` milliseconds after it began to lag."""

    connection: str
    lagged_ms: Natural = 0


class Closed(Event, frozen=True, tag="closed", gc=False):
    """A connection ended. `code` is the WebSocket close code, 1006 if the peer vanished without one.

    `by` says who ended it: one of the `BY_*` below, "" if the edge is too old to say. The counters cover the whole
    connection, in messages and in bytes of payload. `heard_at`: when the client was last heard, in Unix milliseconds, 0
    if unknown. `offsets` has the last delivered offset of each channel with history, for at most `MAX_OFFSETS`
    channels.
    """

    connection: str
    code: Uint32
    reason: str = ""
    by: str = ""
    messages_in: Natural = 0
    messages_out: Natural = 0
    bytes_in: Natural = 0
    bytes_out: Natural = 0
    heard_at: Natural = 0
    offsets: dict[str, Natural] = {}


BY_CLIENT: Final = "client"
"""The client said goodbye: by a close frame, or by unsubscribing."""
BY_NETWORK: Final = "network"
"""The client vanished: its socket broke, or it no longer answered pings."""
BY_EDGE: Final = "edge"
"""The edge ended it, because of a limit, an expired token, a violation of the protocol, or an error of its own."""
BY_DRAIN: Final = "drain"
"""The edge is being stopped."""
BY_BACKEND: Final = "backend"
"""The application asked for it, by the server API or by a hook."""
BY_LOSS: Final = "loss"
"""The edge died: the sessions service closed the connection for it."""

MAX_OFFSETS: Final = 64


class EdgeStarted(Event, frozen=True, tag="edge_started", gc=False):
    """The edge process that writes this is ready for clients. `software`: the version of Fairlead that it runs."""

    software: str = ""


class EdgeDraining(Event, frozen=True, tag="edge_draining", gc=False):
    """The edge process that writes this is being stopped, and closes its `connections` clients."""

    connections: Count = 0


class EdgeStopped(Event, frozen=True, tag="edge_stopped", gc=False):
    """The edge process that writes this has closed its clients, all but `left` of them, and exits."""

    left: Count = 0


class EdgeLost(Event, frozen=True, tag="edge_lost", gc=False):
    """The edge process `instance` died without closing its connections: they ended with it.

    The sessions service writes this when the edge's heartbeats have stopped.
    """

    instance: str


class EdgeFound(Event, frozen=True, tag="edge_found", gc=False):
    """The edge process `instance` was declared lost but is alive: its connections never ended."""

    instance: str


class Erased(Event, frozen=True, tag="erased", gc=False):
    """Everything about a user up to `at` is erased. `user_digest` is `user_digest(user)`, so that the log does not name
    the user.

    The privacy command writes this. Every fold obeys it, even a fold of an older copy of the log.
    """

    user_digest: str


def user_digest(user: str) -> str:
    """How an `Erased` names a user: the SHA-256 of the user id in UTF-8, in hexadecimal, as PostgreSQL computes it
    too."""
    return sha256(user.encode()).hexdigest()


OfConnection = Opened | Subscribed | Unsubscribed | Refreshed | Lagged | CaughtUp | Closed
"""The facts about one connection that has been opened."""

OfEdge = EdgeStarted | EdgeDraining | EdgeStopped | EdgeLost | EdgeFound

SessionEvent = (
    Opened | Refused | Subscribed | Unsubscribed | Refreshed | Lagged | CaughtUp | Closed
    | EdgeStarted | EdgeDraining | EdgeStopped | EdgeLost | EdgeFound | Erased
)  # fmt: skip


MAX_TRACES: Final = 16
"""How many spans one batch names. Further spans of the same 20 ms do not learn when their facts were folded."""


class EventBatch(Struct, frozen=True):
    """The content of one stream message. `instance` is the process that wrote it; its batches are numbered from 1.

    `traces` has the span of each traced command that caused some of the facts, as a `traceparent`.
    """

    edge: str
    instance: str
    number: Number
    events: list[SessionEvent]
    version: Annotated[int, Meta(ge=1, le=MAX_VERSION)] = EVENTS_VERSION
    traces: list[str] | UnsetType = UNSET

    @property
    def message_id(self) -> str:
        """The value of `Nats-Msg-Id`, the same for every attempt to store this batch; fit for a header."""
        return f"{quote(self.instance)}-{self.number}"

    @property
    def contexts(self) -> list[TraceContext]:
        """The spans of `traces`, without invalid entries."""
        if self.traces is UNSET:
            return []
        return [found for text in self.traces[:MAX_TRACES] if (found := decode_context(text)) is not None]


def traces_field(contexts: list[TraceContext]) -> list[str] | UnsetType:
    """The value of `EventBatch.traces` for these spans: the first `MAX_TRACES` of them."""
    return [encode_parent(context) for context in contexts[:MAX_TRACES]] or UNSET


encode_batch = json.Encoder().encode
encode_fact = encode_batch
"""One fact as a batch holds it."""
_decode_batch = json.Decoder(EventBatch).decode


def decode_batch(data: bytes) -> EventBatch:
    """The batch in a stream message. Raises msgspec.DecodeError if it is not JSON in UTF-8, or not of this shape."""
    try:
        return _decode_batch(data)
    except (UnicodeDecodeError, RecursionError) as error:
        raise DecodeError(str(error)) from None


CLOSED_BY_CLIENT: Final = frozenset({1000, 1005})
"""Close codes of clients that end the session themselves (1005: a close frame without a code, as browsers send it)."""


def is_resumable(code: int) -> bool:
    """Whether a session may continue after its connection closed with `code`: the client is expected to reconnect."""
    return code not in CLOSED_BY_CLIENT and client_reconnects(code)
