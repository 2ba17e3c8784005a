"""The model `drops`: how connections ended, counted by code, by who ended them, edge, and the client's version."""

from __future__ import annotations

from services.sessions.rows import MINUTE_MS, WIDTHS, Connection, DropKey
from services.sessions.state import State


def count(state: State, connection: Connection, client_name: str, difference: int = 1) -> None:
    """Counts the end of a closed connection; with -1, takes that back: the connection must be as it was when it was
    counted."""
    at, code = connection.closed_at, connection.close_code
    if at is None or code is None:
        return
    key = at // MINUTE_MS, connection.edge, code, connection.close_by, client_name, connection.client_version
    minutes = state.minutes_of_drops
    minutes[key] = minutes.get(key, 0) + difference


def settle(state: State) -> None:
    """Adds the counts by minute to the counts of all widths."""
    for (minute, edge, code, by, client_name, version), count in state.minutes_of_drops.items():
        at = minute * MINUTE_MS
        for width in WIDTHS:
            state.drops[DropKey(width, at - at % width, edge, code, by, client_name, version)] += count
    state.minutes_of_drops.clear()
