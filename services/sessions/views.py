"""What the read API says, as structs: the same ones make the answers and the OpenAPI description."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from msgspec import Struct

SessionState = Literal["open", "away", "ended"]
"""Connected; lost, and the client may still continue it; over."""


class SessionView(Struct, kw_only=True):
    """A client's stay, over one or more connections."""

    id: str
    user: str
    session_key: str
    client_name: str
    client_version: str
    state: SessionState
    edge: str
    instance: str
    connection: str
    connection_count: int
    opened_at: datetime
    ended_at: datetime | None
    away_until: datetime | None
    end_code: int | None
    end_reason: str


class ConnectionView(Struct, kw_only=True):
    """One WebSocket of a session."""

    id: str
    edge: str
    instance: str
    opened_at: datetime
    closed_at: datetime | None
    close_code: int | None
    close_reason: str


class SubscriptionView(Struct, kw_only=True):
    """The latest stretch in which a connection was subscribed to a channel."""

    connection: str
    channel: str
    since: datetime
    until: datetime | None
    recovered: bool | None


class SessionDetail(SessionView, kw_only=True):
    """A session with its connections and subscriptions, newest first; `truncated` when there are more of them."""

    connections: list[ConnectionView]
    subscriptions: list[SubscriptionView]
    truncated: bool


class SessionsPage(Struct, kw_only=True):
    """Sessions, newest first. `next` is the cursor of the page that follows, null on the last one."""

    sessions: list[SessionView]
    next: str | None


class Problem(Struct, kw_only=True):
    """What was wrong. `parameter` names the one that was."""

    code: int
    message: str
    parameter: str | None = None


class Failure(Struct, kw_only=True):
    """The body of every answer that is not 200."""

    error: Problem
