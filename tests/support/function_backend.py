"""A backend that is functions of the test. Held to the same contract as the real one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from services.chassis.tracing.span import Span
from services.edge.backend.backend import (
    BackendAway,
    BackendError,
    Caller,
    checked_error,
    checked_method,
    checked_size,
)

Function = Callable[[bytes, Caller | None], bytes | Awaitable[bytes]]
"""Gets the data and the caller, plain or async; gives back the answer, or raises `BackendError`."""


class FunctionBackend:
    """See `backend.Backend`. `rpc` are functions by method, `hooks` by event; `away` cuts the edge off from them."""

    def __init__(self, rpc: dict[str, Function] | None = None, hooks: dict[str, Function] | None = None) -> None:
        self.rpc = rpc or {}
        self.hooks = hooks or {}
        self.sent: list[tuple[bytes, Caller]] = []
        self.away = False

    async def call(self, method: str, data: bytes, caller: Caller, timeout_s: float) -> bytes:
        return await self._ask(self.rpc.get(checked_method(method)), data, caller, timeout_s)

    async def ask(self, event: str, question: bytes, caller: Caller | None, timeout_s: float) -> bytes:
        return await self._ask(self.hooks.get(event), question, caller, timeout_s)

    def send(self, data: bytes, caller: Caller, cause: Span | None = None) -> None:
        if not self.away:
            self.sent.append((data, caller))

    async def _ask(self, function: Function | None, data: bytes, caller: Caller | None, timeout_s: float) -> bytes:
        await asyncio.sleep(0)  # an answer from elsewhere is never there at once
        if self.away:
            raise BackendAway("cut off")
        if function is None:
            raise BackendAway("no backend answers", "no_responders")
        try:
            async with asyncio.timeout(timeout_s):
                answer = function(data, caller)
                return checked_size(answer if isinstance(answer, bytes) else await answer)
        except TimeoutError:
            raise BackendAway("no answer in time", "timeout") from None
        except BackendError as error:
            raise BackendError(*checked_error(*error.error)) from None
