"""Records in the session log that an upgrade, or an HTTP request of a client, was refused."""

from __future__ import annotations

from typing import Final

from proto.events import Refused
from services.edge.arrival import UNKNOWN, Arrival
from services.edge.connection.context import EdgeContext
from services.edge.session.details import details

HANDSHAKE: Final = "handshake"
EMULATE: Final = "emulate"
"""What such a client wanted: to connect, or to send commands in a separate HTTP request."""


def note_refused(
    context: EdgeContext,
    status: int,
    cause: str,
    arrival: Arrival = UNKNOWN,
    transport: str = "",
    action: str = HANDSHAKE,
) -> None:
    """Records a refusal with this HTTP status; `cause` is one of `tally.UPGRADE_CAUSES`."""
    refused = Refused(0, action, status, cause)
    context.refusal_facts.note(refused, lambda: details(context.policy.section, arrival, transport))
