"""A backend on NATS with a table in the settings: the subjects of `backend_nats`, the questions and answers of HTTP.

docs/hooks.md describes them. The body has the user and everything else that a decision needs, so that the signature
covers these; headers, which it does not cover, would prove nothing.
"""

from __future__ import annotations

from collections.abc import Callable

from proto import subjects
from services.chassis.nats.link import NatsLink
from services.chassis.tracing.span import Span
from services.edge.backend import hook_answers, hook_questions
from services.edge.backend.backend import Caller, checked_method, checked_size
from services.edge.backend.backend_nats import NatsBackend, headers_of
from services.edge.backend.question_headers import QuestionHeaders, form_of
from services.edge.backend_settings import BackendSettings


class NamedNatsBackend:
    """See `backend.Backend`. `link` is the connection to its NATS; `unix` is the wall clock, for signatures."""

    def __init__(self, link: NatsLink, settings: BackendSettings, unix: Callable[[], float]) -> None:
        self._nats = NatsBackend(link)
        self._timeout_s = float(settings.timeout)
        self._form = form_of(settings)
        self._headers = QuestionHeaders(settings)
        self._unix = unix

    async def call(self, method: str, data: bytes, caller: Caller, timeout_s: float) -> bytes:
        question = hook_questions.rpc_question(caller, checked_method(method), data, self._form)
        answer = await self._request("rpc", subjects.rpc(method), question, caller, timeout_s)
        return checked_size(hook_answers.rpc_answer(answer))

    async def ask(self, event: str, question: bytes, caller: Caller | None, timeout_s: float) -> bytes:
        return await self._request(f"hook {event}", subjects.hook(event), question, caller or Caller(), timeout_s)

    def send(self, data: bytes, caller: Caller, cause: Span | None = None) -> None:
        """Drops the message: such messages go to the backend `nats`, on the edge's own NATS (`Backends.send`)."""

    async def _request(self, name: str, subject: str, question: bytes, caller: Caller, timeout_s: float) -> bytes:
        headers = headers_of(caller, self._headers.of(caller, question, self._unix()))
        within_s = min(timeout_s, self._timeout_s or timeout_s)
        return await self._nats.request(name, subject, question, headers, within_s)
