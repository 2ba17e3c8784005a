"""The read API over NATS: a request to the subject of a question, with its parameters as a JSON object, gets the answer
that HTTP gives, errors included.

Headers are the same as over HTTP, spelled as here: `Fairlead-Position`, `Fairlead-Kept-Since` and `ETag` of an answer,
`If-None-Match` and `After-Position` of a request. If the caller's ETag still holds, the answer is an empty message; no
other answer is empty.

Instances share the requests in a queue group. There is no key: a client of NATS that may publish to these subjects is
trusted to read. An answer goes only to an inbox, as the service may publish to subjects to which the caller may not.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from proto import subjects
from services.chassis.nats.errors import NatsAway, NatsRefused
from services.chassis.nats.headers import header, header_block
from services.chassis.nats.link import NatsLink
from services.chassis.process.tasks import Tasks
from services.sessions.api.calls import AFTER_POSITION, UNKNOWN, Answer, Answered, Calls, failure, to_nobody
from services.sessions.api.parameters import FROM, LIMIT, BadParameter, Parameter, written
from services.sessions.api.questions import Question

MAX_ASKED: Final = 32
"""Requests in progress; more are answered with 503."""

MAX_BODY: Final = 64 * 1024


class NatsCalls:
    """Answers `questions` on `link`."""

    def __init__(
        self, link: NatsLink, calls: Calls, questions: Sequence[Question], answered: Answered = to_nobody
    ) -> None:
        self._answered = answered
        self._link = link
        self._calls = calls
        self._questions = {question.name: question for question in questions}
        self._tasks = Tasks()
        self._subscription: int | None = None

    def start(self) -> None:
        """Answers from now on."""
        self._subscription = self._link.subscribe(subjects.READ_ALL, self._hear, subjects.READ_QUEUE)

    async def stop(self) -> None:
        """Takes no more questions, and ends those in progress."""
        if self._subscription is not None:
            self._link.unsubscribe(self._subscription)
            self._subscription = None
        await self._tasks.stop()

    def _hear(self, subject: bytes, reply: bytes, headers: bytes | None, data: bytes) -> None:
        to = reply.decode(errors="replace")
        if not to or not subjects.may_be_answered(to):
            return
        name = subjects.read_question(subject.decode(errors="replace"))
        if len(self._tasks) >= MAX_ASKED:
            busy = failure(503, f"{MAX_ASKED} questions are being answered, the most at a time; try again")
            self._send(to, name, busy)
            self._count(name, busy, time.perf_counter())
        else:
            self._tasks.start(self._reply(name, headers, data, to))

    async def _reply(self, name: str, headers: bytes | None, data: bytes, to: str) -> None:
        began = time.perf_counter()
        answer = await self._answer(name, headers, data)
        self._send(to, name, answer)
        self._count(name, answer, began)

    def _count(self, name: str, answer: Answer, began: float) -> None:
        known = name if name in self._questions else UNKNOWN
        self._answered(known, "nats", answer.status, time.perf_counter() - began)

    async def _answer(self, name: str, headers: bytes | None, data: bytes) -> Answer:
        question = self._questions.get(name)
        if question is None:
            known = ", ".join(sorted(self._questions))
            return failure(404, f"there is no question {name[:64]!r}, expected {known}")
        try:
            given = parameters_of(data, question.parameters)
        except BadParameter as error:
            return failure(400, f"{error.parameter}: {error}", error.parameter)
        except ValueError as error:
            return failure(400, str(error))
        if position := _text(headers, b"After-Position"):
            given.append((AFTER_POSITION.name, position))
        return await self._calls.answer(question, given, _text(headers, b"If-None-Match"))

    def _send(self, to: str, name: str, answer: Answer) -> None:
        with contextlib.suppress(NatsAway, NatsRefused):
            try:
                self._link.publish(to, answer.body, _headers_of(answer))
            except NatsRefused:
                if (question := self._questions.get(name)) is None:
                    raise
                error = too_large(question)._replace(position=answer.position)
                self._link.publish(to, error.body, _headers_of(error))


def too_large(question: Question) -> Answer:
    """The answer in place of one that is larger than NATS takes: it names what makes it smaller, if anything does."""
    names = {each.name for each in question.parameters}
    said, http = "the answer is larger than NATS takes", f"ask over HTTP, at {question.described_path}"
    if LIMIT.name in names:
        return failure(400, f"{LIMIT.name}: {said}: ask for fewer rows, or {http}", LIMIT.name)
    if FROM.name in names:
        return failure(400, f"{FROM.name}: {said}: shorten the period, or {http}", FROM.name)
    return failure(400, f"{said}: {http}")


def _headers_of(answer: Answer) -> bytes | None:
    found = {"Fairlead_Position": answer.position, "Fairlead_Kept_Since": answer.kept_since, "ETag": answer.tag}
    said = {name: value for name, value in found.items() if value}
    return header_block(**said) if said else None


def _text(headers: bytes | None, name: bytes) -> str:
    return (header(headers, name) or b"").decode(errors="replace")


def parameters_of(data: bytes, known: Sequence[Parameter]) -> list[tuple[str, str]]:
    """The parameters in a request: those of a JSON object; none in an empty message. Raises ValueError, and
    `BadParameter` for a value of a type that no parameter has."""
    if not data:
        return []
    if len(data) > MAX_BODY:
        raise ValueError(f"expected a body of at most {MAX_BODY} bytes")
    try:
        found: Any = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise ValueError("expected a JSON object with the parameters, or nothing")
    given = []
    for name, value in found.items():
        try:
            given.append((name, written(value)))
        except ValueError as error:
            choice = next((each.schema.get("enum") for each in known if each.name == name), None)
            expected = " or ".join(f'"{each}"' for each in choice) if choice else ""
            raise BadParameter(name[:64], f"expected {expected}" if expected else str(error)) from None
    return given
