"""The model `timeline`: what happened to a connection, as its edge wrote it.

A row has the facts of one batch, so that not every fact costs a row. A session's move to another edge, its resume, or
the loss of its edge is not a fact of a connection: the reader of a timeline derives it from the session's connections.
"""

from __future__ import annotations

from collections import defaultdict

from proto.events import OfConnection, Refused
from services.sessions.rows import TimelineEntry
from services.sessions.state import State
from services.sessions.values import time_of

Notes = defaultdict[str, list[OfConnection | Refused]]
"""The facts of one batch, by connection."""


def settle(state: State, notes: Notes, number: int) -> None:
    """Adds `notes`, the facts of the batch of this number, and empties them."""
    timeline = state.timeline
    for connection, facts in notes.items():
        key = connection, number
        entry = timeline.get(key)
        if entry is None:
            timeline[key] = TimelineEntry(connection, number, time_of(facts[0].at), facts)
        else:
            entry.facts += facts
    notes.clear()
