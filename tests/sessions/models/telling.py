"""A state that some facts have made."""

from __future__ import annotations

from typing import Any

from proto.events import Opened, SessionEvent
from services.sessions.projection import apply
from services.sessions.state import State
from tests.sessions.stories import WINDOW_MS


def told(*facts: tuple[str, SessionEvent] | SessionEvent, state: State | None = None) -> State:
    """Each fact is a batch of the edge `i1`, or of the one that is told with it."""
    state = State(WINDOW_MS) if state is None else state
    for number, fact in enumerate(facts, 1):
        instance, event = fact if isinstance(fact, tuple) else ("i1", fact)
        apply(state, event, f"edge-{instance}", instance, number)
    return state


def ann(connection: str, at: int, version: str = "1.0", **more: Any) -> Opened:
    return Opened(at=at, connection=connection, user="ann", client_name="js", client_version=version, **more)
