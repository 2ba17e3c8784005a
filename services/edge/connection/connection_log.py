"""Logs each client that connects or disconnects, if the operator asks for it (`log.connections`)."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from proto.events import Closed
from services.chassis.process.log import Throttle
from services.edge.session.state import SessionState

log = logging.getLogger(__name__)

STRANGERS: Final = 1000
"""How many lines about clients without a user are written in `_PER_S` seconds. Clients with a user have shown a token,
and each is logged; `limits.connects` bounds how many can come at once."""
_PER_S: Final = 10.0


class ConnectionLog:
    """Writes a line for each connect and each disconnect. `now` is any clock, in seconds."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._came, self._left = (Throttle(STRANGERS, _PER_S, STRANGERS) for _ in range(2))

    def connected(self, state: SessionState) -> None:
        """The client has connected."""
        self._write(self._came, state, "a client connected", state.about())

    def disconnected(self, state: SessionState, closed: Closed, seconds: float) -> None:
        """A client that had connected is gone, after `seconds`."""
        text = f"a client disconnected: {closed.reason}" if closed.reason else "a client disconnected"
        self._write(self._left, state, text, state.about(code=closed.code) | {"seconds": round(seconds, 3)})

    def _write(self, throttle: Throttle, state: SessionState, text: str, fields: dict[str, object]) -> None:
        held = 0 if state.identity.user else throttle.allows(self._now())
        if held is not None:
            more = f" ({held} more like this before)" if held else ""
            format = state.format
            software = f"{state.name}/{state.version}".strip("/")
            fields |= {"transport": format.transport, "encoding": format.codec.name, "library": software}
            log.info("%s%s", text, more, extra={name: value for name, value in fields.items() if value})
