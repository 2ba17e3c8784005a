"""The read API over HTTP: a route for each question, and the description at `/openapi.json`.

Every error is JSON that says what was wrong.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Final
from urllib.parse import parse_qsl

import msgspec
from starlette.convertors import Convertor, register_url_convertor
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from services.chassis.http.api_key import ApiKeys, Refusal, reaches
from services.chassis.process.api_keys import READ
from services.sessions.api.calls import AFTER_POSITION, Answer, Answered, Calls, failure, to_nobody
from services.sessions.api.openapi import Other, describe
from services.sessions.api.questions import Question

POSITION_HEADER: Final = "fairlead-position"
KEPT_SINCE_HEADER: Final = "fairlead-kept-since"

Endpoint = Callable[[Request], Awaitable[Response]]


class _AnyText(Convertor[str]):
    """A part of a path that may hold anything, line breaks included (Starlette's `path` stops at them)."""

    regex = r"[\s\S]*"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("text", _AnyText())


class SessionsApi:
    """The routes of `questions`, for callers with one of the `keys` that may read."""

    def __init__(
        self,
        keys: ApiKeys,
        calls: Calls,
        questions: Sequence[Question],
        others: Sequence[tuple[Other, Endpoint]] = (),
        answered: Answered = to_nobody,
    ) -> None:
        """`others` are the calls whose answers are not JSON; they check the keys themselves."""
        self._answered = answered
        self._keys = keys
        self._calls = calls
        self._questions = questions
        self._others = others
        self._description = msgspec.json.encode(describe(questions, [other for other, _ in others]))

    def routes(self) -> list[Route]:
        """All of them; only the description needs no key."""
        first = [Route(other.path, self._measured(other.name, answer)) for other, answer in self._others]
        asked = [Route(each.path, self._measured(each.name, self._endpoint(each))) for each in self._questions]
        return [*first, *asked, Route("/openapi.json", self._openapi)]

    def _measured(self, name: str, answer: Endpoint) -> Endpoint:
        async def endpoint(request: Request) -> Response:
            began = time.perf_counter()
            made = await answer(request)
            self._answered(name, "http", made.status_code, time.perf_counter() - began)
            return made

        return endpoint

    def _endpoint(self, question: Question) -> Endpoint:
        async def endpoint(request: Request) -> Response:
            refusal = refused(self._keys, request)
            if refusal is not None:
                return refusal
            return response(
                await self._calls.answer(question, given(request), request.headers.get("if-none-match", ""))
            )

        return endpoint

    async def _openapi(self, request: Request) -> Response:
        return Response(self._description, media_type="application/json")


def given(request: Request) -> list[tuple[str, str]]:
    """The parameters of a request: those of its path, of its query, and the position in its header."""
    query = request.scope["query_string"].decode("latin-1")
    asked = parse_qsl(query, keep_blank_values=True, errors="surrogateescape")  # invalid UTF-8 is refused later
    found = [*request.path_params.items(), *asked]
    if position := request.headers.get(AFTER_POSITION.name.replace("_", "-")):
        found.append((AFTER_POSITION.name, position))
    return [(name, value) for name, value in found if name != "api_key"]


def refused(keys: ApiKeys, request: Request) -> Response | None:
    """The answer to a request that may not read; None if it may."""
    key = keys.of(request)
    refusal = key if isinstance(key, Refusal) else reaches(key, READ, "reading sessions")
    return None if refusal is None else response(failure(refusal.status, refusal.why))


def response(answer: Answer) -> Response:
    """An answer as HTTP has it."""
    made = Response(answer.body, answer.status, media_type="application/json")
    if answer.position:
        made.headers[POSITION_HEADER] = answer.position
    if answer.kept_since:
        made.headers[KEPT_SINCE_HEADER] = answer.kept_since
    if answer.tag:
        made.headers["etag"] = answer.tag
        made.headers["cache-control"] = "private, no-cache"
    if answer.status in (429, 503):
        made.headers["retry-after"] = "1"
    return made


async def on_http_error(request: Request, error: Exception) -> Response:
    """Starlette's own errors (no such path, method not allowed) in the same shape."""
    assert isinstance(error, HTTPException)
    headers, why = dict(error.headers or {}), error.detail
    if error.status_code == 405:
        methods = sorted(headers["Allow"].split(", "))
        headers["Allow"] = ", ".join(methods)
        why = f"{request.method[:32]} is not allowed here, expected {' or '.join(methods)}"
    made = response(failure(error.status_code, why))
    made.headers.update(headers)
    return made
