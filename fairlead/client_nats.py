"""Fairlead over NATS: `AsyncNatsFairlead` on a nats-py connection of yours, `NatsFairlead` for threads.

There is no API key: a NATS user may call the methods to whose subjects it may publish (`api.publish`, `api.>`).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any, Final, TypeVar

import nats
from nats.aio.client import Client
from nats.errors import Error

from fairlead.awaited import AsyncCalls
from fairlead.blocking import Calls
from fairlead.calls import TIMEOUT_S, Call, answer_of
from fairlead.errors import Unavailable

T = TypeVar("T")

CLOSE_S: Final = 5.0
"""How long `NatsFairlead.close` waits for its thread."""
_METHODS: Final = "api."
"""The same as in `proto/subjects.py`, which a test checks: this package imports nothing from the services."""


class AsyncNatsFairlead(AsyncCalls):
    """Calls edges by requests on `connection`, which remains yours: `close` leaves it open."""

    def __init__(self, connection: Client, *, timeout_s: float = TIMEOUT_S) -> None:
        super().__init__(timeout_s)
        self._connection = connection

    async def close(self) -> None:
        pass

    async def _attempt(self, call: Call[T], timeout_s: float) -> T:
        return await _ask(self._connection, call, timeout_s)


class NatsFairlead(Calls):
    """Calls edges by requests over its own connection, in a thread that starts with the first call.

    `options` are those of `nats.connect`. After a fork, as in a server that preloads the application, the child makes
    its own connection.
    """

    def __init__(self, url: str, *, timeout_s: float = TIMEOUT_S, **options: Any) -> None:
        super().__init__(timeout_s)
        self._options = {
            "servers": url,
            "max_reconnect_attempts": -1,
            "reconnect_time_wait": 0.1,
            "ping_interval": 5,
            "error_cb": _quiet,
            **options,
        }
        self._starting = threading.Lock()
        self._link: _Link | None = None

    def close(self) -> None:
        with self._starting:
            link, self._link = self._link, None
        if link is not None and link.pid == os.getpid():
            link.close()

    def _attempt(self, call: Call[T], timeout_s: float) -> T:
        with self._starting:
            if self._link is None or self._link.pid != os.getpid():
                self._link = _Link(self._options)
            link = self._link
        return link.ask(call, timeout_s)


class _Link:
    """A thread with an event loop and a connection."""

    def __init__(self, options: dict[str, Any]) -> None:
        self.pid = os.getpid()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fairlead-nats", daemon=True)
        self._thread.start()
        self._options = options
        self._connected: asyncio.Task[Client] | None = None

    def ask(self, call: Call[T], timeout_s: float) -> T:
        answered = self._start(self._ask(call, timeout_s))
        try:
            return answered.result(timeout_s)
        except TimeoutError:
            answered.cancel()
            raise Unavailable(f"{call.method}: no answer from NATS within {timeout_s:.1f} s") from None

    async def _ask(self, call: Call[T], timeout_s: float) -> T:
        if self._connected is None or (self._connected.done() and _failed(self._connected)):
            self._connected = asyncio.ensure_future(nats.connect(**self._options))
        try:
            connection = await asyncio.shield(self._connected)
        except (OSError, Error) as error:
            raise _unavailable(call, error) from error
        return await _ask(connection, call, timeout_s)

    def close(self) -> None:
        with contextlib.suppress(TimeoutError):  # the thread is a daemon, which does not keep the process alive
            self._start(self._close()).result(CLOSE_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(CLOSE_S)
        if not self._thread.is_alive():
            self._loop.close()

    async def _close(self) -> None:
        if self._connected is None:
            return
        if not self._connected.done():
            self._connected.cancel()
            await asyncio.wait([self._connected])
        elif not _failed(self._connected):
            await self._connected.result().close()

    def _start(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        return asyncio.run_coroutine_threadsafe(work, self._loop)


async def _ask(connection: Client, call: Call[T], timeout_s: float) -> T:
    try:
        reply = await connection.request(_METHODS + call.method, call.body, timeout=timeout_s)
    except (OSError, Error) as error:  # nobody listens, no answer in time, or the connection is down
        raise _unavailable(call, error) from error
    return answer_of(call, reply.data)


async def _quiet(error: Exception) -> None:
    """Ignores errors: nats-py would log a traceback for every attempt to connect, and the caller gets the error
    anyway."""


def _failed(task: asyncio.Task[Client]) -> bool:
    return task.cancelled() or task.exception() is not None


def _unavailable(call: Call[T], error: Exception) -> Unavailable:
    return Unavailable(f"{call.method}: {str(error) or type(error).__name__}")
