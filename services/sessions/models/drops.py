"""The model `drops`: how connections ended, counted by code, by who ended them, edge, and the client's version."""

from __future__ import annotations

from services.sessions.rows import WIDTHS, Connection, DropKey
from services.sessions.state import State


def count(state: State, connection: Connection, client_name: str, difference: int = 1) -> None:
    """Counts the end of a closed connection; with -1, takes it back: it has to be as it was when it was counted."""
    at, code, drops = connection.closed_at, connection.close_code, state.drops
    if at is None or code is None:
        return
    for width in WIDTHS:
        key = DropKey(
            width,
            at - at % width,
            connection.edge,
            code,
            connection.close_by,
            client_name,
            connection.client_version,
        )
        drops[key] += difference
