"""The model `timeline`: what happened to a connection, as its edge told it.

A row has the facts of one batch, so that a fact costs no row of its own. That a session moved to another edge, was
resumed, or lost its edge, is no fact of a connection: who reads a timeline sees it from the session's connections.
"""

from __future__ import annotations

from proto.events import OfConnection, Refused
from services.sessions.rows import Connection, TimelineEntry
from services.sessions.state import State


def told(state: State, connection: Connection, number: int, at: int, event: OfConnection | Refused) -> None:
    """Adds a fact about a connection. `number` is that of the batch."""
    key = connection.id, number
    entry = state.timeline.get(key)
    if entry is None:
        state.timeline[key] = TimelineEntry(connection.id, number, at, [event])
    else:
        entry.facts.append(event)
