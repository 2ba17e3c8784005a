"""The types of the events that webhooks deliver, for type checkers.

    body: WebhookBody = json.loads(request.body)
    for event in body["events"]:
        if event["type"] == "disconnected":
            print(event.get("user"), event["duration_ms"])

docs/events.md says what each field means, and what is promised. Event types and fields may be added: ignore unknown
ones.
"""

from typing import Literal, NotRequired, TypedDict


class _Event(TypedDict):
    id: str
    """The same each time that the event is sent."""
    at: int
    """Unix milliseconds."""


class _OfConnection(_Event):
    connection: str
    user: NotRequired[str]
    """Left out for an anonymous client."""
    edge: NotRequired[str]


class Connected(_OfConnection):
    type: Literal["connected"]
    client_name: NotRequired[str]
    client_version: NotRequired[str]
    session_key: NotRequired[str]
    address: NotRequired[str]
    transport: NotRequired[str]
    user_agent: NotRequired[str]
    origin: NotRequired[str]
    returned: NotRequired[bool]


class Disconnected(_OfConnection):
    type: Literal["disconnected"]
    code: int
    reason: NotRequired[str]
    duration_ms: int


class Subscribed(_OfConnection):
    type: Literal["subscribed"]
    channel: str
    recovered: NotRequired[bool]


class Unsubscribed(_OfConnection):
    type: Literal["unsubscribed"]
    channel: str
    code: int


class Occupied(_Event):
    type: Literal["occupied"]
    channel: str


class Vacated(_Event):
    type: Literal["vacated"]
    channel: str


Event = Connected | Disconnected | Subscribed | Unsubscribed | Occupied | Vacated


class WebhookBody(TypedDict):
    """The body of a request."""

    version: int
    events: list[Event]
