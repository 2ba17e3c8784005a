"""Measures another backend: how long its answers take, and how it fails."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from proto import subjects
from services.chassis.tracing.span import Span, observe_traced
from services.edge.backend.backend import (
    Backend,
    BackendAway,
    BackendDisconnect,
    BackendError,
    BadAnswer,
    Caller,
    checked_method,
)
from services.edge.hook_settings import NATS
from services.edge.tally import Tally


class MeasuredBackend:
    """See `backend.Backend`. Writes into the tally, by `name` and by the call: "rpc", "hook.connect" and so on.

    An answer that turns out to be unusable when it is decoded is counted by its decoder. A question that is cut off by
    the deadline of its command or call is counted by the code that sets the deadline (`Tally.question_cut_off`).
    """

    def __init__(self, backend: Backend, tally: Tally, name: str = NATS) -> None:
        self._backend = backend
        self._tally = tally
        self._name = name

    async def call(self, method: str, data: bytes, caller: Caller, timeout_s: float) -> bytes:
        checked_method(method)  # a client's mistake does not count as a failure of a backend
        return await self._measured("rpc", self._backend.call(method, data, caller, timeout_s))

    async def ask(self, event: str, question: bytes, caller: Caller | None, timeout_s: float) -> bytes:
        return await self._measured(subjects.hook(event), self._backend.ask(event, question, caller, timeout_s))

    def send(self, data: bytes, caller: Caller, cause: Span | None = None) -> None:
        self._backend.send(data, caller, cause)

    async def _measured(self, call: str, answer: Coroutine[Any, Any, bytes]) -> bytes:
        now = asyncio.get_running_loop().time
        began, tally, name = now(), self._tally, self._name
        waited = True  # for an answer
        try:
            return await answer
        except (BackendError, BackendDisconnect):
            tally.backend_failed(name, call, "error")
            raise
        except BadAnswer as error:
            tally.backend_failed(name, call, error.cause)
            raise
        except BackendAway as error:
            tally.backend_failed(name, call, error.cause)
            waited = error.cause == "timeout"
            raise
        except asyncio.CancelledError:
            waited = False  # cancelled by a deadline, or because the edge stops: it is not known here
            raise
        finally:
            if waited:
                observe_traced(tally.timings.backend_seconds.of(name, call), now() - began)
