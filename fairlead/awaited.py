"""Calls that a coroutine of asyncio awaits, as in a FastAPI view. `blocking` is the same for threads."""

from __future__ import annotations

import asyncio
import random
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from fairlead.calls import (
    Attempts,
    Call,
    Member,
    Position,
    broadcast_call,
    other_call,
    presence_call,
    publish_call,
)
from fairlead.errors import CallRefused, FairleadError

T = TypeVar("T")


class AsyncCalls(ABC):
    """The calls of an application to Fairlead, usable from any task. All methods raise the errors of this package."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s

    async def publish(
        self,
        channel: str,
        data: Any,
        *,
        tags: Mapping[str, str] | None = None,
        idempotency_key: str = "",
        skip_history: bool = False,
    ) -> Position:
        """Publishes any JSON except null, or bytes; when it returns, the publication is stored in the channel's
        history.

        While no edge answers it tries again, for `timeout_s` seconds in total, and the publication is stored once: all
        attempts have the same key. Pass your own `idempotency_key`, such as the id of a row, if your code may call
        twice.
        """
        return await self._run(publish_call(channel, data, tags, idempotency_key, skip_history))

    async def broadcast(
        self,
        channels: Iterable[str],
        data: Any,
        *,
        tags: Mapping[str, str] | None = None,
        idempotency_key: str = "",
        skip_history: bool = False,
    ) -> list[Position | CallRefused]:
        """Publishes the same data to up to 1,000 channels; returns the outcome for each, in their order. See
        `publish`."""
        return await self._run(broadcast_call(channels, data, tags, idempotency_key, skip_history))

    async def presence(self, channel: str) -> list[Member]:
        """Who is in the channel at this moment, on all edges."""
        return await self._run(presence_call(channel))

    async def call(self, method: str, *, repeatable: bool = False, **fields: Any) -> dict[str, Any]:
        """Calls any other method of docs/server-api.md, such as `call("disconnect", user="alice")`; returns its result.

        It is tried only once, unless you declare that carrying it out twice does no harm (`repeatable`).
        """
        return await self._run(other_call(method, fields, repeatable))

    @abstractmethod
    async def close(self) -> None:
        """Closes the connections."""

    @abstractmethod
    async def _attempt(self, call: Call[T], timeout_s: float) -> T:
        """Tries the call once."""

    async def _run(self, call: Call[T]) -> T:
        attempts = Attempts(call, self._timeout_s, time.monotonic())
        while True:
            try:
                return await self._attempt(call, attempts.timeout_s(time.monotonic()))
            except FairleadError as failure:
                pause_s = attempts.pause_s(failure, time.monotonic(), random.random())
            await asyncio.sleep(pause_s)
