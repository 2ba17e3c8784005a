"""The model `users`: which devices a user has had, since when, with which versions, and how often. Anonymous clients
belong to no user."""

from __future__ import annotations

from services.sessions.rows import Connection, Session, UserDevice
from services.sessions.state import State


def count(state: State, session: Session, version: str, at: int, sessions: int, connections: int) -> None:
    """Adds to the counts of a device: the user of the session was there at `at`, with this version."""
    user = session.user
    if not user:
        return
    key = user, session.session_key, session.client_name, version
    device = state.users.get(key)
    if device is None:
        state.users[key] = UserDevice(*key, at, at, sessions, connections)
        return
    device.sessions += sessions
    device.connections += connections
    if at > device.last_seen:
        device.last_seen = at
    elif at < device.first_seen:
        device.first_seen = at


def absorbed(state: State, later: Session, first: Connection | None) -> None:
    """Takes back the count of a session that turned out to continue another. `first` is its first connection."""
    version = later.client_version if first is None else first.client_version
    count(state, later, version, later.opened_at, -1, 0)
