"""Folds facts into rows: pure, without I/O and without a clock. This module defines what a *session* is.

A session begins with a connection and outlives it. When a connection closes in a way after which clients reconnect
(`proto.events.is_resumable`), its session is *away* for the resume window. The next connection of the same *lineage*
(user, session key, client name) continues a session that is away: one connection continues one session, the one that
has been away for longest.

Facts of two edges reach the log in any order: a client can be on edge B before edge A has written that it left. A
session that ends therefore absorbs a later session of its lineage, if one was opened after that moment.
docs/decisions/0014-session-resume-heuristic.md has the reasons and limits.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b
from typing import assert_never

from proto.events import (
    BY_LOSS,
    CaughtUp,
    Closed,
    EdgeDraining,
    EdgeFound,
    EdgeLost,
    EdgeStarted,
    EdgeStopped,
    Erased,
    EventBatch,
    Lagged,
    Opened,
    Refreshed,
    Refused,
    SessionEvent,
    Subscribed,
    Unsubscribed,
    is_resumable,
)
from services.sessions.rows import MAX_ID, MAX_TEXT, MAX_TIME, Connection, Session, Subscription
from services.sessions.state import State

NAME = "sessions-1"
"""The position is stored under this name. Change it to rebuild the rows: a new name starts at the log's beginning."""

EDGE_LOST_CODE = 1006
EDGE_LOST_REASON = "edge lost"
_MAX_CODE = 2**31 - 1


def lineage_of(user: str, session_key: str, client_name: str) -> str | None:
    """The lineage of a session, as a digest of fixed size; None for an anonymous client without a session key."""
    if not user and not session_key:
        return None
    parts = (identity(user), identity(session_key), identity(client_name))
    return blake2b("\0".join(parts).encode(), digest_size=16).hexdigest()


def identity(value: str) -> str:
    """`value` as `text` has it, but no two values alike: one that `text` would change ends with a digest of the whole.

    What it returns is its own identity.
    """
    if len(value) <= MAX_TEXT and "\0" not in value:
        return value
    digest = blake2b(value.encode(), digest_size=16).hexdigest()
    return text(f"{value[: MAX_TEXT - 1 - len(digest)]}~{digest}")


def text(value: str, limit: int = MAX_TEXT) -> str:
    """`value` as PostgreSQL can store and index it: at most `limit` characters, without NUL."""
    return value[:limit].replace("\0", "\ufffd")


def name_of(value: str) -> str:
    """Likewise, the name of a connection or instance."""
    return text(value, MAX_ID)


def time_of(at: int) -> int:
    """The time `at`, within the range that PostgreSQL and Python both support, in Unix milliseconds."""
    return min(max(at, 0), MAX_TIME)


def fold(state: State, batches: Iterable[EventBatch]) -> State:
    """Applies the facts of `batches`, in order. Changes `state` in place and returns it."""
    for batch in batches:
        edge, instance = text(batch.edge), name_of(batch.instance)
        for event in batch.events:
            apply(state, event, edge, instance)
    return state


def apply(state: State, event: SessionEvent, edge: str = "", instance: str = "") -> State:
    """Applies one fact that the process `instance` of `edge` wrote. Changes `state` in place and returns it.

    Applying a fact again changes nothing, except that a later `Subscribed` of the same channel replaces the row.
    """
    state.events += 1
    match event:
        case Opened():
            _opened(state, event, edge, instance)
        case Subscribed():
            _subscribed(state, event)
        case Unsubscribed():
            _unsubscribed(state, event)
        case Closed():
            _closed(state, event)
        case EdgeLost():
            _edge_lost(state, event)
        case EdgeFound():
            _edge_found(state, event)
        case (
            Refused() | Refreshed() | Lagged() | CaughtUp() | EdgeStarted() | EdgeDraining() | EdgeStopped() | Erased()
        ):
            pass
        case _:
            assert_never(event)
    return state


def _opened(state: State, event: Opened, edge: str, instance: str) -> None:
    connection, at = name_of(event.connection), time_of(event.at)
    if connection in state.connections:
        return
    lineage = lineage_of(event.user, event.session_key, event.client_name)
    session = state.longest_away(lineage, at) if lineage is not None else None
    if session is None:
        session = Session(
            id=connection,
            user=identity(event.user),
            session_key=text(event.session_key),
            client_name=text(event.client_name),
            client_version=text(event.client_version),
            edge=edge,
            instance=instance,
            connection=connection,
            connections=1,
            opened_at=at,
            lineage=lineage,
            address=text(event.address),
        )
        state.put_session(session)
    else:
        session.connection, session.edge, session.instance = connection, edge, instance
        session.client_version, session.address = text(event.client_version), text(event.address)
        session.connections += 1
        state.set_end(session, None, None, None)
        state.resumed += 1
    state.changed_sessions.add(session.id)
    state.put_connection(Connection(connection, session.id, edge, instance, at))
    state.changed_connections.add(connection)


def _subscribed(state: State, event: Subscribed) -> None:
    connection = name_of(event.connection)
    if connection not in state.connections:
        state.unknown += 1
        return
    opened_at = state.connections[connection].opened_at
    row = Subscription(connection, text(event.channel), opened_at, time_of(event.at), None, event.recovered)
    state.put_subscription(row)
    state.changed_subscriptions.add((row.connection, row.channel))


def _unsubscribed(state: State, event: Unsubscribed) -> None:
    key = (name_of(event.connection), text(event.channel))
    row = state.subscriptions.get(key)
    if row is None:
        state.unknown += 1
    elif row.until is None:
        row.until = time_of(event.at)
        state.changed_subscriptions.add(key)


def _closed(state: State, event: Closed) -> None:
    connection = state.connections.get(name_of(event.connection))
    if connection is None:
        state.unknown += 1
    elif connection.closed_at is None or _was_lost(connection):  # the edge's own word overrides the guess
        _close(state, connection, time_of(event.at), min(event.code, _MAX_CODE), text(event.reason), text(event.by))


def _close(state: State, connection: Connection, at: int, code: int, reason: str, by: str) -> None:
    at = max(at, connection.opened_at)
    connection.closed_at, connection.close_code, connection.close_reason, connection.close_by = at, code, reason, by
    state.changed_connections.add(connection.id)
    session = state.sessions.get(connection.session_id)
    if session is None:
        state.unknown += 1  # somebody deleted its row
        return
    if session.connection != connection.id:
        return  # the session has gone on with another connection
    if session.lineage is None or not is_resumable(code):
        state.set_end(session, at, None, code, reason, by)
        return
    away_until = at + state.resume_window_ms
    if session.away_until is None:  # otherwise the edge's own word only corrects the time
        state.interrupted += 1
    state.set_end(session, at, away_until, code, reason, by)
    later = state.first_opened(session.lineage, at, away_until, other_than=session)
    if later is not None:
        state.merge(session, later)
        state.resumed += 1


def _edge_lost(state: State, event: EdgeLost) -> None:
    instance, at = name_of(event.instance), time_of(event.at)
    state.edges_lost += 1
    gone = [one for one in state.connections.values() if one.instance == instance and one.closed_at is None]
    for connection in sorted(gone, key=_age):
        _close(state, connection, at, EDGE_LOST_CODE, EDGE_LOST_REASON, BY_LOSS)


def _edge_found(state: State, event: EdgeFound) -> None:
    instance = name_of(event.instance)
    back = [one for one in state.connections.values() if one.instance == instance and _was_lost(one)]
    for connection in sorted(back, key=_age):
        connection.closed_at, connection.close_code, connection.close_reason, connection.close_by = None, None, "", ""
        state.changed_connections.add(connection.id)
        session = state.sessions.get(connection.session_id)
        if session is None:
            state.unknown += 1  # somebody deleted its row
        elif session.connection == connection.id:
            state.set_end(session, None, None, None)


def _was_lost(connection: Connection) -> bool:
    return connection.close_code == EDGE_LOST_CODE and connection.close_reason == EDGE_LOST_REASON


def _age(connection: Connection) -> tuple[int, str]:
    return connection.opened_at, connection.id
