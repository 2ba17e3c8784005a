"""Asking a backend for its verdict, and what holds when it gives none."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from proto import codes
from services.edge.backend import hook_answers, hook_results
from services.edge.backend.backend import Backend, BackendAway, BackendError, BadAnswer, Caller
from services.edge.clients.actions import AskHook, HookResult
from services.edge.grants import Grant

log = logging.getLogger(__name__)

PROLONGED_WHEN_AWAY_S: Final = 60
"""How long a connection goes on when the backend that should prolong it is away, and `hook_when_away` is "allow"."""

_DECODE: Final[dict[str, Callable[[bytes], HookResult]]] = {
    "connect": hook_answers.connect_answer,
    "subscribe": hook_answers.subscribe_answer,
    "publish": hook_answers.publish_answer,
    "refresh": hook_answers.refresh_answer,
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
            return hook_results.Refused(error.error)
        except BadAnswer as error:
            self._refused(f"a backend's answer to the {asked.event} hook is unusable", str(error))
            return hook_results.Refused(codes.INTERNAL)
        except BackendAway as error:
            self._refused(f"no backend answers the {asked.event} hook", str(error))
            return _allowed(asked.event, now) if asked.allow_when_away else hook_results.Refused(codes.INTERNAL)


def _allowed(event: str, now: float) -> HookResult:
    match event:
        case "connect":
            return hook_results.Admitted()
        case "subscribe":
            return Grant()
        case "publish":
            return hook_results.Accepted()
        case _:
            return hook_results.Extended(expires_at=int(now) + PROLONGED_WHEN_AWAY_S)
