"""Facts about sessions, as the `SESSIONS` stream keeps them: written once, versioned, never edited.

An edge writes its facts in order, in batches of one stream message each. The batch's number is part of its message id,
so a batch that is sent twice is stored once. A *connection* is one client connection, named by its client id. The
sessions service decides from these facts to which *session* a connection belongs.
"""

from __future__ import annotations

from typing import Annotated, Final
from urllib.parse import quote

from msgspec import UNSET, DecodeError, Meta, Struct, UnsetType, json

from proto.codes import client_reconnects
from proto.messages import Uint32
from proto.trace_context import TraceContext, decode_context, encode_parent

EVENTS_VERSION = 1

MAX_VERSION: Final = 1000
"""No later version is believed: a reader waits for one that it does not know yet, and must not wait for nonsense."""

_INT64_MAX = 2**63 - 1

Int64 = Annotated[int, Meta(ge=-(2**63), le=_INT64_MAX)]
Natural = Annotated[int, Meta(ge=0, le=_INT64_MAX)]
Number = Annotated[int, Meta(ge=1, le=_INT64_MAX)]
"""What a column of PostgreSQL can hold. Beyond it a batch is not one."""

LOG_MAX_AGE_S: Final = 7 * 24 * 3600.0
"""How long the stream keeps facts by default: how long PostgreSQL may be unavailable, and how far back a read model can
be rebuilt. The sessions service may be configured otherwise; an edge that creates the stream uses this."""

LOG_MAX_BYTES: Final = 1024**3
"""What NATS sets aside for the stream by default, 7 million facts. Then the oldest go, which are folded long since
unless PostgreSQL was unavailable all the time: to refuse new facts would lose them while those that are folded stay."""

LOG_DUPLICATE_WINDOW_S: Final = 120.0
"""For how long JetStream drops repeated batches. The sessions service drops later repetitions, by their number."""


class Event(Struct, frozen=True, omit_defaults=True, tag_field="type", gc=False):
    """Base of all facts. `at` is when it happened, in Unix time in milliseconds."""

    at: Int64


class Opened(Event, frozen=True, tag="opened", gc=False):
    """A client connected and was authenticated. `user` is "" for an anonymous client.

    The last four are told as the edge's settings say (`client.session_event_details`), and "" otherwise.
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


class Subscribed(Event, frozen=True, tag="subscribed", gc=False):
    """A client subscribed to a channel. `recovered` is None if it did not ask for recovery."""

    connection: str
    channel: str
    recovered: bool | None = None
    offset: Natural = 0


class Unsubscribed(Event, frozen=True, tag="unsubscribed", gc=False):
    """A subscription ended, by the client (code 0) or by the server (a code of `proto.codes`)."""

    connection: str
    channel: str
    code: Uint32 = 0


class Closed(Event, frozen=True, tag="closed", gc=False):
    """A connection ended. `code` is the WebSocket close code, 1006 if the peer vanished without one."""

    connection: str
    code: Uint32
    reason: str = ""


class EdgeLost(Event, frozen=True, tag="edge_lost", gc=False):
    """The edge process `instance` died without closing its connections: they ended with it.

    The sessions service writes this when the edge's heartbeats have stopped.
    """

    instance: str


class EdgeFound(Event, frozen=True, tag="edge_found", gc=False):
    """The edge process `instance` was declared lost but is alive: its connections never ended."""

    instance: str


SessionEvent = Opened | Subscribed | Unsubscribed | Closed | EdgeLost | EdgeFound


MAX_TRACES: Final = 16
"""Spans that one batch names. Further ones of the same 20 ms do not learn when their facts were folded."""


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
        """The spans of `traces`, without what is none."""
        if self.traces is UNSET:
            return []
        return [found for text in self.traces[:MAX_TRACES] if (found := decode_context(text)) is not None]


def traces_field(contexts: list[TraceContext]) -> list[str] | UnsetType:
    """The value of `EventBatch.traces` for these spans: the first `MAX_TRACES` of them."""
    return [encode_parent(context) for context in contexts[:MAX_TRACES]] or UNSET


encode_batch = json.Encoder().encode
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
