"""The events that webhooks deliver, and the body of a request: an API with a version, described in docs/events.md.

Within a version fields and types of events may be added; receivers ignore what they do not know. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, get_args

from msgspec import Raw, Struct, json

BODY_VERSION: Final = 1


class Base(Struct, frozen=True, omit_defaults=True, tag_field="type", gc=False):
    """Base of all events. `id` is the same whenever the event is sent; `at` is when it happened, in Unix milliseconds,
    by the clock of the edge."""

    id: str
    at: int


class OfConnection(Base, frozen=True, gc=False):
    """Base of the events of one connection, named by its client id. `user` is left out for an anonymous client."""

    connection: str
    user: str = ""
    edge: str = ""


class Connected(OfConnection, frozen=True, tag="connected", gc=False):
    """A client connected. `returned`: its edge counted as lost, so that the connection was reported as ended, but is
    alive.

    `address`, `transport`, `user_agent`, `origin`: as `client.session_event_details` of the edge says.
    """

    client_name: str = ""
    client_version: str = ""
    session_key: str = ""
    address: str = ""
    transport: str = ""
    user_agent: str = ""
    origin: str = ""
    returned: bool = False


class Disconnected(OfConnection, frozen=True, kw_only=True, tag="disconnected", gc=False):
    """The connection ended. `code` and `reason` are those of the WebSocket close, 1006 and "edge lost" if its edge died
    without a word; `duration_ms` is for how long it lasted."""

    code: int
    reason: str = ""
    duration_ms: int


class SubscribedTo(OfConnection, frozen=True, kw_only=True, tag="subscribed", gc=False):
    """The connection subscribed to a channel. `recovered` is left out if the client did not ask for what it had
    missed."""

    channel: str
    recovered: bool | None = None


class UnsubscribedFrom(OfConnection, frozen=True, kw_only=True, tag="unsubscribed", gc=False):
    """The subscription ended: by the client (code 0), by the server (2000 to 2999), or with the connection, whose close
    code it then has."""

    channel: str
    code: int


class Occupied(Base, frozen=True, tag="occupied", gc=False):
    """The channel got its first subscriber, of all edges."""

    channel: str


class Vacated(Base, frozen=True, tag="vacated", gc=False):
    """The channel lost its last subscriber, of all edges."""

    channel: str


WebhookEvent = Connected | Disconnected | SubscribedTo | UnsubscribedFrom | Occupied | Vacated

EVENT_TYPES: Final = tuple(str(kind.__struct_config__.tag) for kind in get_args(WebhookEvent))


def type_of(event: WebhookEvent) -> str:
    """The value of its field "type"."""
    return str(event.__struct_config__.tag)


class _Body(Struct):
    version: int
    events: list[Raw]


encode_event = json.Encoder().encode
_encode_body = json.Encoder().encode


def body_of(events: Sequence[bytes]) -> bytes:
    """The body of a request with these events, each as `encode_event` made it."""
    return _encode_body(_Body(BODY_VERSION, [Raw(event) for event in events]))
