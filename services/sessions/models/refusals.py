"""The model `refusals`: who was refused what, and why; and counts of refusals, including those that edges summed up."""

from __future__ import annotations

from proto.events import Refused
from services.sessions.rows import MAX_CODE, WIDTHS, Refusal, RefusalKey
from services.sessions.state import State
from services.sessions.values import identity, label, name_of, text


def refused(state: State, event: Refused, at: int, edge: str, instance: str) -> None:
    """Adds a refusal, and counts all that it stands for."""
    action, code = label(event.action), min(event.code, MAX_CODE)
    state.refusals.append(
        Refusal(
            at=at,
            edge=edge,
            instance=instance,
            action=action,
            code=code,
            reason=text(event.reason),
            connection=name_of(event.connection),
            user=identity(event.user),
            channel=text(event.channel),
            client_name=label(event.client_name),
            client_version=label(event.client_version),
            address=text(event.address),
            transport=text(event.transport),
            user_agent=text(event.user_agent),
            origin=text(event.origin),
            count=event.count,
        )
    )
    for width in WIDTHS:
        state.refusal_counts[RefusalKey(width, at - at % width, edge, action, code)] += event.count
