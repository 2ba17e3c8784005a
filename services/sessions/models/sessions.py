"""The model `sessions`: sessions, with their connections and subscriptions. It defines what a *session* is.

A session begins with a connection and outlives it. When a connection closes in a way after which clients reconnect
(`proto.events.is_resumable`), its session is *away* for the resume window. The next connection of the same *lineage*
(user, session key, client name) continues a session that is away: one connection continues one session, the one that
has been away for longest.

Facts of two edges reach the log in any order: a client can be on edge B before edge A has written that it left. A
session that ends therefore absorbs a later session of its lineage, if one was opened after that moment.

A session is open while one of its connections is, and names an open one. There are several only if an edge was found
that had counted as lost, after another connection resumed the session.
docs/decisions/0014-session-resume-heuristic.md has the reasons and limits.
"""

from __future__ import annotations

from proto.events import Opened, Subscribed, is_resumable
from services.sessions.rows import Connection, Session, Subscription
from services.sessions.state import State
from services.sessions.values import identity, label, lineage_of, text


def opened(state: State, event: Opened, name: str, at: int, edge: str, instance: str) -> tuple[Session, Connection]:
    """Adds the new connection `name`, and its session, unless it continues an existing one."""
    user, key, client = event.user, event.session_key, event.client_name
    version, address = label(event.client_version), text(event.address)
    lineage = lineage_of(user, key, client)
    away = state.longest_away(lineage, at) if lineage is not None else None
    session_id = name if away is None else away.id
    connection = Connection(name, session_id, edge, instance, at, None, None, "", "", version, address)
    if away is None:
        session = Session(
            name, identity(user), label(key), label(client), version, edge, instance, name, 1, at, lineage,
            None, None, None, "", "", address,
        )  # fmt: skip
        state.put_session(session)
        state.changed_sessions.add(name)
    else:
        session = away
        session.connections += 1
        state.resumed += 1
        _go_on(state, session, connection)
    state.put_connection(connection)
    state.changed_connections.add(name)
    return session, connection


def _go_on(state: State, session: Session, connection: Connection) -> None:
    """The session has this connection, which is open, from now on. It is not the session's only one."""
    state.left_edge.setdefault(session.id, session.edge)
    session.connection, session.edge, session.instance = connection.id, connection.edge, connection.instance
    session.client_version, session.address = connection.client_version, connection.address
    session.connected_at = connection.opened_at
    state.set_end(session, None, None, None)


def closed(state: State, connection: Connection, at: int, code: int, reason: str, by: str) -> Session | None:
    """Closes a connection, or corrects how it closed. Returns the later session that its session absorbed, if any."""
    state.set_close(connection, at, code, reason, by)
    session = state.sessions.get(connection.session_id)
    if session is None:
        state.unknown += 1  # somebody deleted its row
        return None
    if session.connection != connection.id:
        return None  # the session has gone on with another connection
    if session.id in state.with_several and (other := state.newest_open(session)) is not None:
        _go_on(state, session, other)
        return None
    if session.lineage is None or not is_resumable(code):
        state.set_end(session, at, None, code, reason, by)
        return None
    away_until = at + state.resume_window_ms
    if session.away_until is None:  # otherwise the edge's own fact only corrects the time
        state.interrupted += 1
    state.set_end(session, at, away_until, code, reason, by)
    later = state.first_opened(session.lineage, at, away_until, other_than=session)
    if later is not None:
        state.merge(session, later)
        state.resumed += 1
    return later


def reopened(state: State, connection: Connection) -> None:
    """Reopens a connection that had ended with its edge."""
    state.set_close(connection, None, None)
    session = state.sessions.get(connection.session_id)
    if session is None:
        state.unknown += 1  # somebody deleted its row
    elif session.connection == connection.id:
        state.set_end(session, None, None, None)
    elif session.ended_at is not None:
        _go_on(state, session, connection)
    else:
        state.with_several.add(session.id)


def subscribed(state: State, event: Subscribed, connection: Connection, channel: str, at: int) -> bool | None:
    """Adds a subscription. True if the connection entered the channel; False if it was there already, and only the row
    is new; None if the fact is a repetition, and nothing changed."""
    name, subscriptions = connection.id, state.subscriptions
    if subscriptions.is_known(name, channel, at):
        return None
    before = subscriptions.of(name).get(channel)
    if before is not None:
        subscriptions.end(before, at)  # at the latest: the log does not say when it ended
    subscriptions.begin(Subscription(name, channel, connection.opened_at, at, None, event.recovered))
    return before is None


def unsubscribed(state: State, name: str, channel: str, at: int) -> bool:
    """Ends a subscription of the connection `name`. False if there was none: the fact is a repetition, or the beginning
    of the subscription is missing."""
    row = state.subscriptions.of(name).get(channel)
    if row is None:
        return False
    state.subscriptions.end(row, at)
    return True
