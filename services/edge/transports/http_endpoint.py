"""What the HTTP addresses for clients have in common: origins (CORS), methods, limits on bodies, refusals."""

from __future__ import annotations

import asyncio
import re
from abc import ABC, abstractmethod
from typing import Final

from starlette.datastructures import Headers, QueryParams
from starlette.responses import PlainTextResponse, Response
from starlette.types import Receive, Scope, Send

from services.chassis.http.client_address import is_by_proxy
from services.chassis.process.log_fields import about
from services.edge.arrival import arrival_of
from services.edge.connection.context import EdgeContext
from services.edge.connection.door import TurnedAway
from services.edge.connection.refusal_log import shown_origin
from services.edge.framing.handshake import separator
from services.edge.transports.refused_handshakes import HANDSHAKE, note_refused

BODY_TIMEOUT_S: Final = 10.0
"""How long a body may take to arrive. It has a few commands; a poor mobile link needs a few seconds."""

_DISCARDED_BYTES: Final = 1024 * 1024
"""A body that is too large is read and dropped up to this size: a client that still sends may not see the response."""

_PREFLIGHT_MAX_AGE_S: Final = 300
_HEADER_NAMES: Final = re.compile(r"[A-Za-z0-9_\-, ]{1,1024}")


class Refusal(Exception):
    """The response has this status, and the text, which helps to debug the client; `cause` is for metrics."""

    def __init__(
        self, status: int, text: str, headers: dict[str, str] | None = None, cause: str = "bad_request"
    ) -> None:
        super().__init__(text)
        self.status = status
        self.cause = cause
        self.headers = headers or {}


class HttpRequest:
    """One request with an allowed origin and method. `cors` are headers that its response must have."""

    def __init__(self, scope: Scope, receive: Receive, headers: Headers, cors: dict[str, str]) -> None:
        self.scope = scope
        self.cors = cors
        self.headers = headers
        self.method: str = scope["method"]
        self.client: str = (scope.get("client") or ("", 0))[0]  # None when its socket is closed already
        self.by_proxy = is_by_proxy(scope)
        self.is_binary = headers.get("content-type", "").partition(";")[0].strip().lower() == "application/octet-stream"
        self._receive = receive

    def header(self, name: str) -> str:
        """The value of a header, or the joined values of a repeated one; "" without one."""
        return separator(name).join(self.headers.getlist(name))

    def count(self, name: str) -> int:
        """How often the request has a header."""
        return len(self.headers.getlist(name))

    def query(self, name: str) -> str:
        """The value of a query parameter, "" without one."""
        return QueryParams(self.scope["query_string"]).get(name, "")

    async def body(self, limit: int) -> bytes | None:
        """The body; None when the client is gone. Raises `Refusal` for more than `limit` bytes, or when it is late."""
        try:
            async with asyncio.timeout(BODY_TIMEOUT_S):
                return await self._read(limit)
        except TimeoutError:
            raise Refusal(408, "the body did not come in time", {"Connection": "close"}, "timeout") from None

    async def _read(self, limit: int) -> bytes | None:
        kept, size, more = bytearray(), 0, True
        while more and size <= _DISCARDED_BYTES:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                return None
            part: bytes = message.get("body", b"")
            size += len(part)
            if size <= limit:
                kept += part
            more = message.get("more_body", False)
        if size > limit:
            raise Refusal(413, f"expected a body of at most {limit} bytes", {"Connection": "close"}, "too_large")
        return bytes(kept)


class Endpoint(ABC):
    """An ASGI application for one address, which is served if one of `transports` is in `client.transports`.

    `action` is what its clients want, as session events about refusals name it.
    """

    action = HANDSHAKE

    def __init__(self, context: EdgeContext, methods: tuple[str, ...], transports: tuple[str, ...]) -> None:
        self.context = context
        self._methods = methods
        self._transports = transports

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        cors: dict[str, str] = {}
        response: Response | None
        try:
            self._check_offered()
            cors = self._allowed_origin(headers.get("origin"))
            if scope["method"] == "OPTIONS":
                response = self._preflight(headers, cors)
            else:
                self._check_method(scope["method"])
                response = await self.answer(HttpRequest(scope, receive, headers, cors), send)
        except Refusal as refusal:
            self.refused(refusal)
            why = f"{refusal}{shown_origin(headers.get('origin'))}"
            what = f"a request for {scope['path']} was refused"
            address, _ = scope.get("client") or ("", 0)
            self.context.refusals.write(what, why, about(code=refusal.status, address=address))
            self._note(refusal, scope, address, headers)
            response = PlainTextResponse(f"{refusal}\n", refusal.status, cors | refusal.headers)
        if response is not None:
            await response(scope, receive, send)

    def _note(self, refusal: Refusal, scope: Scope, address: str, headers: Headers) -> None:
        def header(name: str) -> str:
            return headers.get(name, "")

        arrival = arrival_of(address or "", header, self.context.policy.kept, is_by_proxy(scope))
        transport = self._transports[0] if len(self._transports) == 1 else ""
        note_refused(self.context, refusal.status, refusal.cause, arrival, transport, self.action)

    def refused(self, refusal: Refusal) -> None:  # noqa: B027 - nothing by default
        """Counts a refusal, if requests to this address open a connection."""

    def check_door(self, turned_away: TurnedAway | None) -> None:
        """Raises `Refusal` for a client that the door turns away."""
        if turned_away is not None:
            status, why, retry_after, limit = turned_away
            raise Refusal(status, f"{why}, try again", {"Retry-After": str(retry_after)}, limit)

    @abstractmethod
    async def answer(self, request: HttpRequest, send: Send) -> Response | None:
        """The response; None when it was sent, or the client is gone. Raises `Refusal` before anything was sent."""

    def _check_offered(self) -> None:
        offered = self.context.policy.section.transports
        if self._transports and not any(name in offered for name in self._transports):
            are = "is" if len(self._transports) == 1 else "are"
            why = f"{' and '.join(self._transports)} {are} not offered here (client.transports)"
            raise Refusal(404, why, cause="not_offered")

    def _check_method(self, method: str) -> None:
        if method not in self._methods:
            expected = ", ".join((*self._methods, "OPTIONS"))
            raise Refusal(405, f"expected {expected}", {"Allow": expected})

    def _allowed_origin(self, origin: str | None) -> dict[str, str]:
        """The headers that let a page read the response. Only browsers send an origin and need them."""
        if origin is None:
            return {}
        if not (origin.isascii() and origin.isprintable() and self.context.policy.origins.allow(origin)):
            raise Refusal(403, "this origin may not connect (client.allowed_origins)", cause="origin")
        return {
            "Access-Control-Allow-Origin": origin,
            "Access-Control-Allow-Credentials": "true",
            "Vary": "Origin",
        }

    def _preflight(self, headers: Headers, cors: dict[str, str]) -> Response:
        answer = Response(status_code=204, headers=cors)
        answer.headers["Access-Control-Allow-Methods"] = ", ".join((*self._methods, "OPTIONS"))
        answer.headers["Access-Control-Max-Age"] = str(_PREFLIGHT_MAX_AGE_S)
        wanted = headers.get("access-control-request-headers", "")
        if _HEADER_NAMES.fullmatch(wanted):
            answer.headers["Access-Control-Allow-Headers"] = wanted
        return answer
