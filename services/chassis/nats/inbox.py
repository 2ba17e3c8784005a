"""Requests over NATS and their replies, with one subscription for all replies.

Each request has a token, the last part of the subject to which its replies go. One sweep checks the deadlines of all
requests, instead of a timer for each, so a request without a reply fails up to `SWEEP_S` after its timeout.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from typing import Final

from services.chassis.nats.errors import NatsAway, NobodyAnswers
from services.chassis.nats.headers import status

Reply = tuple[bytes | None, bytes]
"""Headers and data."""

Send = Callable[[str, bytes, bytes | None, str], None]
IsLast = Callable[[bytes | None], bool]

SWEEP_S: Final = 0.05
MAX_WAITING: Final = 50_000
"""Pending requests of the whole process; more are refused."""


class _Request:
    """A pending request: it waits for one reply, or with `is_last` for several."""

    __slots__ = ("deadline", "future", "is_last", "replies", "subject", "token")

    def __init__(self, token: int, future: asyncio.Future[Reply], deadline: float, is_last: IsLast | None) -> None:
        self.token = b"%d" % token
        self.subject = ""
        self.future = future
        self.deadline = deadline
        self.is_last = is_last
        self.replies: list[Reply] = []

    def fail(self, error: Exception) -> None:
        if not self.future.done():
            self.future.set_exception(error)


class Inbox:
    """Sends requests with `send(subject, data, headers, reply)`, which raises `NatsAway` without a connection.

    `collect` is the handler of everything on `pattern`, which lies below `subject`.
    """

    def __init__(self, subject: str, send: Send) -> None:
        self._prefix = subject + "."
        self._send = send
        self._waiting: dict[bytes, _Request] = {}
        self._tokens = itertools.count(1)
        self._sweep_timer: asyncio.TimerHandle | None = None

    @property
    def pattern(self) -> str:
        """The subject to subscribe to, with a wildcard for the tokens."""
        return self._prefix + "*"

    async def request(self, subject: str, data: bytes, headers: bytes | None, timeout_s: float) -> Reply:
        """Sends a request and returns its reply. Raises `NatsAway`, or `NobodyAnswers` if there is no subscriber."""
        return await self._reply(self._register(timeout_s), subject, data, headers)

    async def request_many(
        self, subject: str, data: bytes, is_last: IsLast, headers: bytes | None, timeout_s: float
    ) -> list[Reply]:
        """Sends a request and returns its replies, up to the first whose headers satisfy `is_last`. Raises like
        `request`."""
        request = self._register(timeout_s, is_last)
        await self._reply(request, subject, data, headers)
        return request.replies

    async def echo(self, timeout_s: float) -> None:
        """Sends a message to this inbox and returns when it has arrived. Raises `NatsAway`."""
        request = self._register(timeout_s)
        await self._reply(request, self._prefix + request.token.decode(), b"", None)

    def _register(self, timeout_s: float, is_last: IsLast | None = None) -> _Request:
        if len(self._waiting) >= MAX_WAITING:
            raise NatsAway("too many requests wait for a reply", "busy")
        loop = asyncio.get_running_loop()
        request = _Request(next(self._tokens), loop.create_future(), loop.time() + timeout_s, is_last)
        self._waiting[request.token] = request
        if self._sweep_timer is None:
            self._sweep_timer = loop.call_later(SWEEP_S, self._sweep)
        return request

    async def _reply(self, request: _Request, subject: str, data: bytes, headers: bytes | None) -> Reply:
        request.subject = subject
        try:
            self._send(subject, data, headers, self._prefix + request.token.decode())
            return await request.future
        finally:
            self._waiting.pop(request.token, None)

    def collect(self, subject: bytes, reply: bytes, headers: bytes | None, data: bytes) -> None:
        """Handles a message on `pattern`. A reply to no pending request is dropped."""
        request = self._waiting.get(subject[len(self._prefix) :])
        if request is None or request.future.done():
            return
        if status(headers) == 503:
            request.fail(NobodyAnswers("the subject has no subscriber"))
            return
        if request.is_last is not None:
            request.replies.append((headers, data))
            if not request.is_last(headers):
                return
        request.future.set_result((headers, data))

    def fail_one(self, subject: str, error: Exception) -> None:
        """Fails the oldest pending request to this subject, if there is one: it will get no reply."""
        for request in self._waiting.values():
            if request.subject == subject and not request.future.done():
                request.fail(error)
                return

    def fail_all(self, error: Exception) -> None:
        """Fails every pending request: the connection dropped, so no reply will come."""
        for request in self._waiting.values():
            request.fail(error)

    def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        for request in self._waiting.values():
            if request.deadline <= now:
                request.fail(NatsAway("no answer in time", "timeout"))
        self._sweep_timer = loop.call_later(SWEEP_S, self._sweep) if self._waiting else None
