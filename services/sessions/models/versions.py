"""The model `versions`: which clients connect, in which version, and which of them continue a session."""

from __future__ import annotations

from services.sessions.rows import WIDTHS, Connection, OpeningKey
from services.sessions.state import State


def opened(state: State, connection: Connection, client_name: str) -> None:
    """Counts a connection. It continues a session that does not bear its name."""
    _count(state, connection, client_name, connection.id != connection.session_id, 1)


def resumed_after_all(state: State, connection: Connection, client_name: str) -> None:
    """A connection that counted as the first of its session turned out to continue another."""
    _count(state, connection, client_name, False, -1)
    _count(state, connection, client_name, True, 1)


def _count(state: State, connection: Connection, client_name: str, resumed: bool, difference: int) -> None:
    at, edge, version, openings = connection.opened_at, connection.edge, connection.client_version, state.openings
    for width in WIDTHS:
        openings[OpeningKey(width, at - at % width, edge, client_name, version, resumed)] += difference
