"""The model `versions`: which clients connect, in which version, and which of them continue a session."""

from __future__ import annotations

from services.sessions.rows import MINUTE_MS, WIDTHS, Connection, OpeningKey
from services.sessions.state import State


def opened(state: State, connection: Connection, client_name: str, resumed: bool, difference: int = 1) -> None:
    """Counts a connection, by whether it continues a session; with -1, takes that back."""
    key = connection.opened_at // MINUTE_MS, connection.edge, client_name, connection.client_version, resumed
    minutes = state.minutes_of_openings
    minutes[key] = minutes.get(key, 0) + difference


def resumed_after_all(state: State, connection: Connection, client_name: str) -> None:
    """A connection that counted as the first of its session turned out to continue another."""
    opened(state, connection, client_name, False, -1)
    opened(state, connection, client_name, True)


def settle(state: State) -> None:
    """Adds the counts by minute to the counts of all widths."""
    for (minute, edge, client_name, version, resumed), count in state.minutes_of_openings.items():
        at = minute * MINUTE_MS
        for width in WIDTHS:
            state.openings[OpeningKey(width, at - at % width, edge, client_name, version, resumed)] += count
    state.minutes_of_openings.clear()
