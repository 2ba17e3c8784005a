"""Asking a backend for its verdict, and what holds when it gives none."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from proto import codes
from services.edge.backend import hooks
from services.edge.backend.backend import Backend, BackendAway, BackendError, BadAnswer, Caller
from services.edge.clients.actions import AskHook, HookResult
from services.edge.grants import Grant

log = logging.getLogger(__name__)

PROLONGED_WHEN_AWAY_S: Final = 60
"""How long a connection goes on when the backend that should prolong it is away, and `hook_when_away` is "allow"."""

_DECODE: Final[dict[str, Callable[[bytes], HookResult]]] = {
    "connect": hooks.connect_answer,
    "subscribe": hooks.subscribe_answer,
    "publish": hooks.publish_answer,
    "refresh": hooks.refresh_answer,
}


class Verdicts:
    """See the module. `refused` writes to the log what strangers can cause, not too often."""

    def __init__(self, backend: Backend, refused: Callable[[str, str], None]) -> None:
        self._backend = backend
        self._refused = refused

    async def on(self, asked: AskHook, caller: Caller, now: float) -> HookResult:
        """The backend's verdict, or what the settings say when it is away. Never raises but when cancelled."""
        try:
            answer = await self._backend.ask(asked.event, asked.question, caller, asked.timeout_s)
            return _DECODE[asked.event](answer)
        except BackendError as error:
            return hooks.Refused(error.error)
        except BadAnswer as error:
            self._refused(f"a backend's answer to the {asked.event} hook is unusable", str(error))
            return hooks.Refused(codes.INTERNAL)
        except BackendAway as error:
            self._refused(f"no backend answers the {asked.event} hook", str(error))
            return _allowed(asked.event, now) if asked.allow_when_away else hooks.Refused(codes.INTERNAL)


def _allowed(event: str, now: float) -> HookResult:
    match event:
        case "connect":
            return hooks.Admitted()
        case "subscribe":
            return Grant()
        case "publish":
            return hooks.Accepted()
        case _:
            return hooks.Extended(expires_at=int(now) + PROLONGED_WHEN_AWAY_S)
