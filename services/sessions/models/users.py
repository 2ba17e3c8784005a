"""The model `users`: which devices a user has had, since when, with which versions, and how often. Anonymous clients
are nobody's."""

from __future__ import annotations

from services.sessions.rows import Connection, Session, UserDevice
from services.sessions.state import State


def opened(state: State, session: Session, connection: Connection) -> None:
    """Counts a connection, and its session if it is the first of it."""
    if session.user:
        device = _device(state, session, connection.client_version, connection.opened_at)
        device.connections += 1
        if connection.id == session.id:
            device.sessions += 1


def seen(state: State, session: Session, connection: Connection, at: int) -> None:
    """The user was there until `at`."""
    if session.user:
        _device(state, session, connection.client_version, at)


def absorbed(state: State, later: Session, first: Connection | None) -> None:
    """Takes back a session that turned out to continue another. `first` is its first connection."""
    if later.user:
        version = later.client_version if first is None else first.client_version
        _device(state, later, version, later.opened_at).sessions -= 1


def _device(state: State, session: Session, version: str, at: int) -> UserDevice:
    key = session.user, session.session_key, session.client_name, version
    device = state.users.get(key)
    if device is None:
        device = state.users[key] = UserDevice(*key, at, at)
    elif at > device.last_seen:
        device.last_seen = at
    elif at < device.first_seen:
        device.first_seen = at
    return device
