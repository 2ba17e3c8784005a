"""Facts about sessions, as the `SESSIONS` stream keeps them: written once, versioned, never edited.

An edge writes its facts in batches, in order, one stream message a batch, and the batch's number is part of its message
id: a batch that is sent twice is stored once. `at` is Unix time in milliseconds. A *connection* is one WebSocket, named
by its client id; which *session* it belongs to is what the sessions service makes of these facts.
"""

from __future__ import annotations

from typing import Final

from msgspec import DecodeError, Struct, json

from proto.codes import client_reconnects
from proto.messages import Uint32, Uint64

EVENTS_VERSION = 1

LOG_MAX_AGE_S: Final = 7 * 24 * 3600.0
"""How long the stream keeps facts unless the sessions service is set otherwise: how long PostgreSQL may be away, and
how far back a read model can be made anew. Edges make the stream with it when they are there first."""

LOG_DUPLICATE_WINDOW_S: Final = 120.0
"""How long JetStream itself drops a batch that is sent twice; the sessions service drops later ones by number."""


class Event(Struct, frozen=True, omit_defaults=True, tag_field="type", gc=False):
    at: int


class Opened(Event, frozen=True, tag="opened", gc=False):
    """A client connected and authenticated. `user` is "" for an anonymous one."""

    connection: str
    user: str = ""
    session_key: str = ""  # the token's `sid`: what tells apart several devices of one user, "" when unknown
    client_name: str = ""
    client_version: str = ""


class Subscribed(Event, frozen=True, tag="subscribed", gc=False):
    """`recovered` is None when the client did not ask for recovery."""

    connection: str
    channel: str
    recovered: bool | None = None
    offset: Uint64 = 0


class Unsubscribed(Event, frozen=True, tag="unsubscribed", gc=False):
    """By the client (code 0) or by the server (codes of `proto.codes`)."""

    connection: str
    channel: str
    code: Uint32 = 0


class Closed(Event, frozen=True, tag="closed", gc=False):
    """The connection ended. `code` is the WebSocket close code, 1006 when the peer vanished without one."""

    connection: str
    code: Uint32
    reason: str = ""


class EdgeLost(Event, frozen=True, tag="edge_lost", gc=False):
    """The edge process `instance` is gone without a goodbye: its open connections ended with it.

    Written by the sessions service, when the edge's heartbeats stopped.
    """

    instance: str


class EdgeFound(Event, frozen=True, tag="edge_found", gc=False):
    """The edge process `instance` that was taken for lost is alive after all: its connections never ended."""

    instance: str


SessionEvent = Opened | Subscribed | Unsubscribed | Closed | EdgeLost | EdgeFound


class EventBatch(Struct, frozen=True):
    """What one stream message holds. `instance` names the process that wrote it, `number` counts from 1 in it."""

    edge: str
    instance: str
    number: int
    events: list[SessionEvent]
    version: int = EVENTS_VERSION

    @property
    def message_id(self) -> str:
        """The value of `Nats-Msg-Id`: the same for every attempt to store this batch."""
        return f"{self.instance}-{self.number}"


encode_batch = json.Encoder().encode
_decode_batch = json.Decoder(EventBatch).decode


def decode_batch(data: bytes) -> EventBatch:
    """Raises msgspec.DecodeError for anything else (bytes that are not JSON in UTF-8, or JSON of another shape)."""
    try:
        return _decode_batch(data)
    except (UnicodeDecodeError, RecursionError) as error:
        raise DecodeError(str(error)) from None


RESUMABLE_CLOSE_EXCLUDES = frozenset({1000, 1005})
"""The client's own goodbye (1005: a close frame without a code, which is what browsers send): the session is over."""


def is_resumable(code: int) -> bool:
    """Whether a session may go on after its connection closed with `code`: the client is expected to come back."""
    return code not in RESUMABLE_CLOSE_EXCLUDES and client_reconnects(code)
