"""Asks a backend to decide, and falls back to the settings if it does not answer."""

from __future__ import annotations

from typing import Final

from proto import codes, subjects
from services.chassis.process.log_fields import about
from services.edge.backend import hook_answers, hook_results
from services.edge.backend.backend import BackendAway, BackendError, BadAnswer
from services.edge.backend.backends import Backends
from services.edge.connection.refusal_log import RefusalLog
from services.edge.grants import Grant
from services.edge.session.actions import AskHook
from services.edge.session.command_kinds import aim_of
from services.edge.session.outcomes import HookResult
from services.edge.tally import Tally

EXTENDED_WHEN_AWAY_S: Final = 60
"""How long a connection is extended if the refresh hook does not answer and `hook_when_away` is "allow"."""


class HookCaller:
    """Asks hooks. Failures go to the refusal log, as any client can cause them."""

    def __init__(self, backends: Backends, refusals: RefusalLog, tally: Tally) -> None:
        self._backends = backends
        self._refusals = refusals
        self._tally = tally

    async def ask(self, action: AskHook, unix: float) -> HookResult:
        """The backend's answer; if there is none, that of the settings. Raises nothing but CancelledError."""
        try:
            backend = self._backends.named(action.backend)
            answer = await backend.ask(action.event, action.question, action.caller, action.timeout_s)
            return self._decoded(action, answer)
        except BackendError as error:
            return hook_results.Refused(error.error)
        except BadAnswer as error:
            self._refusals.write(
                f"a backend's answer to the {action.event} hook is unusable", str(error), _about(action)
            )
            return hook_results.Refused(error.error, str(error))
        except BackendAway as error:
            self._refusals.write(f"no backend answers the {action.event} hook", str(error), _about(action))
            return _allowed(action.event, unix) if action.allow_when_away else hook_results.Refused(codes.INTERNAL)

    def _decoded(self, action: AskHook, answer: bytes) -> HookResult:
        try:
            return _decode(action.event, answer, action.caller.encoding)
        except BadAnswer:
            self._tally.backend_failed(action.backend, subjects.hook(action.event), "bad_answer")
            raise


def _decode(event: str, answer: bytes, encoding: str) -> HookResult:
    match event:
        case "connect":
            return hook_answers.connect_answer(answer, encoding)
        case "subscribe":
            return hook_answers.subscribe_answer(answer, encoding)
        case "publish":
            return hook_answers.publish_answer(answer)
        case _:
            return hook_answers.refresh_answer(answer)


def _about(action: AskHook) -> dict[str, object]:
    channel = aim_of(action.command).channel
    return about(client=action.caller.client, user=action.caller.user, channel=channel, backend=action.backend)


def _allowed(event: str, unix: float) -> HookResult:
    match event:
        case "connect":
            return hook_results.Admitted()
        case "subscribe":
            return Grant()
        case "publish":
            return hook_results.Accepted()
        case _:
            return hook_results.Extended(expires_at=int(unix) + EXTENDED_WHEN_AWAY_S)
