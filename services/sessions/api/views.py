"""The answers of the read API, as structs. Its OpenAPI description is made from them, too."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from msgspec import Meta, Struct

SessionState = Literal["open", "away", "ended"]
"""Connected; disconnected, but the client may still resume the session; ended."""


class SessionView(Struct, kw_only=True):
    """A client's stay, over one or more connections."""

    id: Annotated[str, Meta(description="The id of its first connection.")]
    user: Annotated[str, Meta(description="The user id, empty for an anonymous client.")]
    session_key: Annotated[str, Meta(description="The token's `sid`, empty if it had none.")]
    client_name: str
    client_version: str
    state: SessionState
    edge: Annotated[str, Meta(description="The name of the edge of the current or last connection.")]
    instance: Annotated[str, Meta(description="The process of that edge.")]
    connection: Annotated[str, Meta(description="The current or last connection: the client id.")]
    connection_count: int
    opened_at: datetime
    ended_at: Annotated[datetime | None, Meta(description="null while it is open.")]
    away_until: Annotated[datetime | None, Meta(description="Until when the client may continue it, while it is away.")]
    end_code: Annotated[int | None, Meta(description="The close code, 1006 if the connection was lost.")]
    end_reason: str
    end_by: Annotated[str, Meta(description="Who ended it: client, network, edge, drain, backend or loss.")]
    address: Annotated[str, Meta(description="Of its current or last connection, as the edge's settings allow.")]


class ConnectionView(Struct, kw_only=True):
    """One connection of a session. `close_code` is 1006 if it was lost."""

    id: str
    edge: str
    instance: str
    client_version: str
    address: str
    opened_at: datetime
    closed_at: datetime | None
    close_code: int | None
    close_reason: str
    close_by: str


class SubscriptionView(Struct, kw_only=True):
    """A stay of a connection in a channel. `recovered` is null if it did not ask for recovery."""

    connection: str
    channel: str
    since: datetime
    until: datetime | None
    recovered: bool | None


class SessionDetail(SessionView, kw_only=True):
    """A session with its connections and subscriptions, newest first; `truncated` if there are more of them."""

    connections: list[ConnectionView]
    subscriptions: list[SubscriptionView]
    truncated: bool


class SessionsPage(Struct, kw_only=True):
    """Sessions, newest first. `next` is the cursor of the page that follows, null on the last one."""

    sessions: list[SessionView]
    next: str | None


class Problem(Struct, kw_only=True):
    """What was wrong. `parameter` is the invalid parameter, null if none is to blame."""

    code: int
    message: str
    parameter: str | None = None


class Failure(Struct, kw_only=True):
    """The body of every error response."""

    error: Problem
