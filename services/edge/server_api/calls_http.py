"""The server API over HTTP: `POST /api/<method>`, JSON in, `{"result": ...}` or `{"error": ...}` out.

Its shapes are Centrifugo's. HTTP statuses are about the request itself: 401 without a key, 403 with a key whose scope
does not reach the method, 404 for a method that does not exist, 405, 400 for a body that is not a JSON object of the
method's shape, 408, 413. Everything else is 200 with a result or an error in the body. With `X-Centrifugo-Error-Mode:
transport` an error is the whole body, with a status of its own.

`POST /api` takes the method inside the body, for old clients. `GET /api/openapi.json` describes all of this.
"""

from __future__ import annotations

import asyncio
from typing import Final

import msgspec
from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from proto import codes
from proto.json_decoder import JsonDecoder
from proto.trace_context import TRACEPARENT, TRACESTATE, TraceContext, decode_context
from services.chassis.http.api_key import ApiKeys, Refusal, reaches
from services.chassis.process.api_keys import ALL, ApiKey
from services.edge.rejection import Rejected
from services.edge.server_api.answers import (
    BATCH,
    METHODS,
    BadCall,
    Failure,
    Problem,
    UnknownMethod,
    encode_answer,
    problem,
)
from services.edge.server_api.call_counts import UNKNOWN, CallCounts
from services.edge.server_api.call_failures import CallFailures, Origin
from services.edge.server_api.calls import BatchCall, OldCall
from services.edge.server_api.methods import MAX_BODY_BYTES, ApiMethods
from services.edge.server_api.openapi import ERROR_MODE, OTHER_ERROR_STATUS, STATUSES, TRANSPORT, describe

BODY_TIMEOUT_S: Final = 10.0
"""How long a body may take: as long as the body of a client's request (`http_endpoint`)."""

_decode_batch = JsonDecoder[BatchCall](BatchCall).decode
_decode_old_call = JsonDecoder[OldCall](OldCall).decode


class ServerApi:
    """The HTTP routes of the server API, for callers that have one of the `keys`.

    `counts` and `failures` note the calls that are refused before a method handles them.
    """

    def __init__(self, keys: ApiKeys, methods: ApiMethods, counts: CallCounts, failures: CallFailures) -> None:
        self._keys = keys
        self._methods = methods
        self._counts = counts
        self._failures = failures
        self._description = msgspec.json.encode(describe())

    def routes(self) -> list[Route]:
        """The routes, for the edge's application."""
        return [
            Route("/api/openapi.json", self._openapi),
            Route("/api/{method}", self._by_path, methods=["POST"]),
            Route("/api", self._by_body, methods=["POST"]),
        ]

    def pipelined(self, path: str) -> None:
        """Counts a connection that was refused for too many requests at once, if its last request taken was a call."""
        if path == "/api" or path.startswith("/api/"):
            self._counts.refused(path.removeprefix("/api/"), 429)

    async def _openapi(self, request: Request) -> Response:
        return Response(self._description, media_type="application/json")

    async def _by_path(self, request: Request) -> Response:
        method = request.path_params["method"]
        admitted = await self._admit(request, method)
        if isinstance(admitted, Response):
            return admitted
        key, body = admitted
        if (refusal := _beyond(key, method, body)) is not None:
            return self._refuse(request, *refusal, key)
        try:
            answer: Struct | Rejected = await self._methods.call(method, body, _origin(request, key), _cause(request))
        except Rejected as rejection:
            answer = rejection
        return _respond(request, answer)

    async def _by_body(self, request: Request) -> Response:
        admitted = await self._admit(request)
        if isinstance(admitted, Response):
            return admitted
        key, body = admitted
        origin = _origin(request, key)
        try:
            call = _decode_old_call(body)
            body = bytes(call.params)
            if (refusal := _beyond(key, call.method, body)) is not None:
                return self._refuse(request, *refusal, key)
            answer: Struct | Rejected = await self._methods.call(call.method, body, origin, _cause(request))
        except msgspec.DecodeError as error:
            answer = BadCall(codes.BAD_REQUEST, str(error))
            self._counts.refused(UNKNOWN, codes.BAD_REQUEST.code)
            self._failures.failed(UNKNOWN, answer, origin)
        except UnknownMethod as rejection:  # the address exists, so the status is not 404
            answer = Rejected(rejection.error)
        except Rejected as rejection:
            answer = rejection
        return _respond(request, answer)

    async def _admit(self, request: Request, method: str = "") -> tuple[ApiKey, bytes] | Response:
        """The key and the body of a request; or the response that refuses it, as it has no key that reaches `method`,
        or its body is too large or too late."""
        key = self._keys.of(request)
        if isinstance(key, Refusal):
            return self._refuse(request, *key)
        if (refusal := _beyond(key, method)) is not None:
            return self._refuse(request, *refusal, key)
        body = bytearray()
        try:
            async with asyncio.timeout(BODY_TIMEOUT_S):
                async for chunk in request.stream():
                    body += chunk
                    if len(body) > MAX_BODY_BYTES:
                        return self._refuse(request, 413, f"expected a body of at most {MAX_BODY_BYTES} bytes", key)
        except TimeoutError:
            late = self._refuse(request, 408, f"the body did not come within {BODY_TIMEOUT_S:g} s", key)
            late.headers["connection"] = "close"
            return late
        return key, bytes(body)

    def _refuse(self, request: Request, status: int, why: str, key: ApiKey | None = None) -> Response:
        method = request.path_params.get("method", UNKNOWN)
        self._counts.refused(method, status)
        self._failures.refused(method, status, why, _origin(request, key))
        return _failure(status, why)


def _beyond(key: ApiKey, method: str, body: bytes | None = None) -> Refusal | None:
    """Why the key does not reach the method; None if it does. Without its `body`, a batch counts as reached."""
    if key.scope == ALL:
        return None
    names = {method} if method != BATCH else _commands_of(body)
    refusals = (reaches(key, METHODS[name].scope, name) for name in sorted(names) if name in METHODS)
    return next((each for each in refusals if each is not None), None)


def _commands_of(body: bytes | None) -> set[str]:
    """The methods in a batch; none if the body is not a batch, as the call is refused for that later."""
    try:
        return set() if body is None else {name for command in _decode_batch(body).commands for name in command}
    except msgspec.DecodeError:
        return set()


def _origin(request: Request, key: ApiKey | None) -> Origin:
    return Origin("http", request.client.host if request.client else "", key.name if key else "")


def _cause(request: Request) -> TraceContext | None:
    headers = request.headers
    parent = headers.get(TRACEPARENT)
    return None if parent is None else decode_context(parent, headers.get(TRACESTATE, ""))


def _respond(request: Request, answer: Struct | Rejected) -> Response:
    if not isinstance(answer, Rejected):
        return _json(200, encode_answer(answer))
    if request.headers.get(ERROR_MODE) == TRANSPORT:
        status = STATUSES.get(answer.error.code, OTHER_ERROR_STATUS)
        return _json(status, msgspec.json.encode(problem(answer)))
    if isinstance(answer, BadCall):
        return _failure(400, str(answer))
    if isinstance(answer, UnknownMethod):
        return _failure(404, str(answer))
    return _json(200, encode_answer(answer))


def _failure(status: int, message: str) -> Response:
    return _json(status, msgspec.json.encode(Failure(Problem(status, message))))


def _json(status: int, body: bytes) -> Response:
    return Response(body, status, media_type="application/json")
