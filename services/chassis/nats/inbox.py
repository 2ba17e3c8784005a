"""Questions to whoever is on NATS, and their answers, by one subscription for all of them.

Each question has a token, the last part of the subject that its answers go to. There is no timer for each: one sweep
looks at all deadlines, so that an answer fails to come up to `SWEEP_S` later than asked.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from typing import Final

from services.chassis.nats.errors import NatsAway, NobodyAnswers
from services.chassis.nats.headers import status

Answer = tuple[bytes | None, bytes]
"""Headers and data."""

Send = Callable[[str, bytes, bytes | None, str], None]
IsLast = Callable[[bytes | None], bool]

SWEEP_S: Final = 0.05
MAX_WAITING: Final = 50_000
"""Questions without an answer yet, of everybody in the process. More are refused."""


class _Question:
    """What waits for its one answer, or with `is_last` for all of them."""

    __slots__ = ("answers", "deadline", "future", "is_last", "token")

    def __init__(self, token: int, future: asyncio.Future[Answer], deadline: float, is_last: IsLast | None) -> None:
        self.token = b"%d" % token
        self.future = future
        self.deadline = deadline
        self.is_last = is_last
        self.answers: list[Answer] = []

    def fail(self, error: Exception) -> None:
        if not self.future.done():
            self.future.set_exception(error)


class Inbox:
    """See the module. `send(subject, data, headers, reply)` hands a message to the connection or raises `NatsAway`.

    `collect` is the handler of everything on `pattern`, which lies below `subject`.
    """

    def __init__(self, subject: str, send: Send) -> None:
        self._prefix = subject + "."
        self._send = send
        self._waiting: dict[bytes, _Question] = {}
        self._tokens = itertools.count(1)
        self._sweep_timer: asyncio.TimerHandle | None = None

    @property
    def pattern(self) -> str:
        return self._prefix + "*"

    async def ask(self, subject: str, data: bytes, headers: bytes | None, timeout_s: float) -> Answer:
        """One question, one answer. Raises `NatsAway`, and of that `NobodyAnswers` when nobody listens there."""
        return await self._answer(self._question(timeout_s), subject, data, headers)

    async def ask_many(
        self, subject: str, data: bytes, is_last: IsLast, headers: bytes | None, timeout_s: float
    ) -> list[Answer]:
        """One question and its answers, up to the first whose headers satisfy `is_last`. Raises as `ask` does."""
        question = self._question(timeout_s, is_last)
        await self._answer(question, subject, data, headers)
        return question.answers

    async def echo(self, timeout_s: float) -> None:
        """Returns when a message to ourselves has come back. Raises `NatsAway`."""
        question = self._question(timeout_s)
        await self._answer(question, self._prefix + question.token.decode(), b"", None)

    def _question(self, timeout_s: float, is_last: IsLast | None = None) -> _Question:
        if len(self._waiting) >= MAX_WAITING:
            raise NatsAway("too many questions wait for an answer")
        loop = asyncio.get_running_loop()
        question = _Question(next(self._tokens), loop.create_future(), loop.time() + timeout_s, is_last)
        self._waiting[question.token] = question
        if self._sweep_timer is None:
            self._sweep_timer = loop.call_later(SWEEP_S, self._sweep)
        return question

    async def _answer(self, question: _Question, subject: str, data: bytes, headers: bytes | None) -> Answer:
        try:
            self._send(subject, data, headers, self._prefix + question.token.decode())
            return await question.future
        finally:
            self._waiting.pop(question.token, None)

    def collect(self, subject: bytes, reply: bytes, headers: bytes | None, data: bytes) -> None:
        question = self._waiting.get(subject[len(self._prefix) :])
        if question is None or question.future.done():
            return
        if status(headers) == 503:
            question.fail(NobodyAnswers("nobody answers there"))
            return
        if question.is_last is not None:
            question.answers.append((headers, data))
            if not question.is_last(headers):
                return
        question.future.set_result((headers, data))

    def fail_all(self, error: Exception) -> None:
        """The connection dropped: no answer comes any more."""
        for question in self._waiting.values():
            question.fail(error)

    def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        for question in self._waiting.values():
            if question.deadline <= now:
                question.fail(NatsAway("no answer in time"))
        self._sweep_timer = loop.call_later(SWEEP_S, self._sweep) if self._waiting else None
