"""An edge without backends: `edge.broker = "memory"`. No hook can be switched on there (see `configuration`)."""

from __future__ import annotations

from services.chassis.tracing.span import Span
from services.edge.backend.backend import BackendAway, Caller, checked_method


class NoBackend:
    """See `backend.Backend`. RPCs get error 108 (not available)."""

    async def call(self, method: str, data: bytes, caller: Caller, timeout_s: float) -> bytes:
        checked_method(method)
        raise BackendAway('edge.broker = "memory" has no backends', "no_responders")

    async def ask(self, event: str, question: bytes, caller: Caller | None, timeout_s: float) -> bytes:
        raise BackendAway('edge.broker = "memory" has no backends', "no_responders")

    def send(self, data: bytes, caller: Caller, cause: Span | None = None) -> None:
        return None
