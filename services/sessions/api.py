"""The read API: `GET /sessions`, `/sessions/{id}`, `/users/{user}/sessions`, described by `/openapi.json`.

A page continues after a key, not after a number of rows: a reader sees each session exactly once that exists all the
while, even if others come and go. Every error is JSON that says what was wrong.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Final, get_args

import msgspec
from starlette.convertors import Convertor, register_url_convertor
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from services.chassis.http.api_key import ApiKeys, Refusal, reaches
from services.chassis.process.api_keys import READ
from services.sessions.openapi import describe
from services.sessions.reader_postgres import Place, PostgresReader
from services.sessions.store import StoreAway
from services.sessions.values import identity
from services.sessions.views import Failure, Problem, SessionsPage, SessionState

MAX_LIMIT: Final = 1000
DEFAULT_LIMIT: Final = 100
ANSWER_DEADLINE_S: Final = 9.0
"""Below the 9.5 s that Traefik waits, and the 10 s after which clients give up."""
_MAX_VALUE: Final = 2048
"""Characters of a parameter. A user id has no limit here: the chassis limits the request head as a whole."""

_FIRST_DAY: Final = datetime(1, 1, 2, tzinfo=UTC)
_LAST_DAY: Final = datetime(9999, 12, 30, tzinfo=UTC)

Endpoint = Callable[[Request], Awaitable[Response]]


class BadParameter(Exception):
    """A parameter has an invalid value."""

    def __init__(self, parameter: str, message: str) -> None:
        super().__init__(message)
        self.parameter = parameter


class _AnyText(Convertor[str]):
    """A part of a path that may hold anything, line breaks included (Starlette's `path` stops at them)."""

    regex = r"[\s\S]*"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("text", _AnyText())


class _Cursor(msgspec.Struct, array_like=True):
    opened_at: datetime
    id: str


_decode_cursor = msgspec.json.Decoder(_Cursor).decode


class SessionsApi:
    """The routes of the read API, for who has one of the `keys` that may read."""

    def __init__(self, keys: ApiKeys, reader: PostgresReader) -> None:
        self._keys = keys
        self._reader = reader
        self._description = msgspec.json.encode(describe(MAX_LIMIT, DEFAULT_LIMIT))

    def routes(self) -> list[Route]:
        """All of them; only the description needs no key."""
        return [
            Route("/sessions", self._guarded(self._sessions)),
            Route("/sessions/{id}", self._guarded(self._session)),
            Route("/users/{user:text}/sessions", self._guarded(self._of_user)),
            Route("/openapi.json", self._openapi),
        ]

    def _guarded(self, answer: Callable[[Request], Awaitable[msgspec.Struct | None]]) -> Endpoint:
        async def endpoint(request: Request) -> Response:
            key = self._keys.of(request)
            refusal = key if isinstance(key, Refusal) else reaches(key, READ, "reading sessions")
            if refusal is not None:
                return failure(refusal.status, refusal.why)
            try:
                async with asyncio.timeout(ANSWER_DEADLINE_S):
                    found = await answer(request)
            except TimeoutError:
                return failure(503, f"PostgreSQL did not answer within {ANSWER_DEADLINE_S:g} s; try again")
            except BadParameter as error:
                return failure(400, f"{error.parameter}: {error}", error.parameter)
            except StoreAway as error:
                return failure(503, f"{error}; try again")
            if found is None:
                return failure(404, f"there is no session {request.path_params['id']!r}")
            return _json(200, found)

        return endpoint

    async def _sessions(self, request: Request) -> SessionsPage:
        values = _parameters(request, {"state", "user", "edge", "limit", "cursor"})
        return await self._page(values, values.get("user"))

    async def _of_user(self, request: Request) -> SessionsPage:
        values = _parameters(request, {"state", "edge", "limit", "cursor"})
        return await self._page(values, _user(request.path_params["user"]))

    async def _page(self, values: dict[str, str], user: str | None) -> SessionsPage:
        limit, state = _limit(values), _state(values)
        after = _place(values["cursor"]) if "cursor" in values else None
        rows = await self._reader.sessions(limit + 1, after, state, user, values.get("edge"))
        last = rows[limit - 1] if len(rows) > limit else None
        return SessionsPage(sessions=rows[:limit], next=_cursor(last.opened_at, last.id) if last else None)

    async def _session(self, request: Request) -> msgspec.Struct | None:
        _parameters(request, set())
        return await self._reader.session(_text("id", request.path_params["id"]))

    async def _openapi(self, request: Request) -> Response:
        return Response(self._description, media_type="application/json")


def _parameters(request: Request, known: set[str]) -> dict[str, str]:
    """The query's parameters. Raises `BadParameter` for an unknown, repeated or invalid one."""
    values: dict[str, str] = {}
    for name, value in request.query_params.multi_items():
        if name not in known:
            expected = ", ".join(sorted(known)) or "none"
            raise BadParameter(name[:64], f"unknown parameter, expected {expected}")
        if name in values:
            raise BadParameter(name, "expected once")
        values[name] = _user(value) if name == "user" else _text(name, value)
    return values


def _text(name: str, value: str) -> str:
    if len(value) > _MAX_VALUE or "\0" in value or not _is_unicode(value):
        raise BadParameter(name, f"expected valid text of at most {_MAX_VALUE} characters")
    return value


def _user(value: str) -> str:
    """The user id as the rows have it."""
    if not _is_unicode(value):
        raise BadParameter("user", "expected valid text")
    return identity(value)


def _is_unicode(value: str) -> bool:
    return not any("\ud800" <= letter <= "\udfff" for letter in value)


def _limit(values: dict[str, str]) -> int:
    text = values.get("limit", str(DEFAULT_LIMIT))
    if not (text.isascii() and text.isdigit() and len(text) <= 4 and 1 <= int(text) <= MAX_LIMIT):
        raise BadParameter("limit", f"expected a number between 1 and {MAX_LIMIT}")
    return int(text)


def _state(values: dict[str, str]) -> SessionState | None:
    text = values.get("state")
    for state in get_args(SessionState):
        if text == state:
            found: SessionState = state
            return found
    if text is not None:
        raise BadParameter("state", "expected open, away or ended")
    return None


def _cursor(opened_at: datetime, id_: str) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(_Cursor(opened_at, id_))).rstrip(b"=").decode()


def _place(cursor: str) -> Place:
    try:
        found = _decode_cursor(base64.urlsafe_b64decode(cursor.encode("ascii") + b"=="))
        if found.opened_at.tzinfo is None:
            raise ValueError("no time zone")
        # Within a day of the calendar's ends no place is meant, and PostgreSQL's driver cannot take all of them.
        opened_at = min(max(found.opened_at, _FIRST_DAY), _LAST_DAY)
        return Place(opened_at, _text("cursor", found.id))
    except (ValueError, binascii.Error):  # msgspec's and Unicode's errors are ValueErrors
        raise BadParameter("cursor", "expected the value of `next` in an earlier answer") from None


def _json(status: int, body: msgspec.Struct) -> Response:
    return Response(msgspec.json.encode(body), status, media_type="application/json")


def failure(status: int, message: str, parameter: str | None = None) -> Response:
    """An error response with this status."""
    response = _json(status, Failure(error=Problem(code=status, message=message, parameter=parameter)))
    if status == 503:
        response.headers["retry-after"] = "1"
    return response


async def on_http_error(request: Request, error: Exception) -> Response:
    """Starlette's own errors (no such path, method not allowed) in the same shape."""
    assert isinstance(error, HTTPException)
    response = failure(error.status_code, error.detail)
    response.headers.update(error.headers or {})
    return response
