"""Clients for which WebSockets do not work: one HTTP response that never ends, as SSE or as chunks (HTTP stream).

A bidirectional client sends its first commands with the request that opens the stream, and all later ones to
`emulation`. A unidirectional client sends its connect with that request, and nothing more. The socket is closed at the
end of the stream.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from typing import Final

from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Send

from proto.events import BY_DRAIN
from services.chassis.http.sockets import HttpSocket, socket_of
from services.edge.arrival import Arrival, arrival_of
from services.edge.cluster.peers import Peers
from services.edge.connection.connection import Connection
from services.edge.connection.context import EdgeContext
from services.edge.connection.door import counted_as
from services.edge.framing import formats
from services.edge.framing.formats import Format
from services.edge.transports.emulation import EMULATION_PATH, Emulation
from services.edge.transports.http_endpoint import Endpoint, HttpRequest, Refusal

SESSION_BYTES: Final = 24
"""Random bytes of a session id, which must not be guessable: anyone who knows it can send commands as this client."""

_TYPES: Final = {
    formats.SSE: "text/event-stream",
    formats.UNI_SSE: "text/event-stream",
    formats.HTTP_STREAM_JSON: "application/x-ndjson",
    formats.UNI_HTTP_STREAM: "application/x-ndjson",
    formats.HTTP_STREAM_PROTOBUF: "application/octet-stream",
}
_HEADERS: Final = {
    "Cache-Control": "private, no-cache, no-store, must-revalidate, max-age=0",
    "X-Accel-Buffering": "no",  # nginx does not buffer the response
    "X-Content-Type-Options": "nosniff",  # browsers do not buffer to guess a type
    "Connection": "close",
}
_EVENT_STREAM_BEGINS: Final = b":\n\n"
"""Some clients see the response only once its first bytes arrive. These are a comment, without CR: a proxy may join it
with the first event, and eventsource 2.x then drops that event if a line before it ended in CR LF."""


def client_routes(context: EdgeContext, peers: Peers, max_streams: int) -> list[Route]:
    """The HTTP addresses of clients. At most `max_streams` streams are open at once."""

    def binary_or_not(request: HttpRequest) -> Format:
        return formats.HTTP_STREAM_PROTOBUF if request.is_binary else formats.HTTP_STREAM_JSON

    streams = {
        "http_stream": (("POST",), binary_or_not),
        "sse": (("GET", "POST"), lambda _: formats.SSE),
        "uni_http_stream": (("POST",), lambda _: formats.UNI_HTTP_STREAM),
        "uni_sse": (("GET", "POST"), lambda _: formats.UNI_SSE),
    }
    return [
        Route(f"/connection/{transport}", StreamEndpoint(context, transport, methods, format_of, max_streams))
        for transport, (methods, format_of) in streams.items()
    ] + [
        Route(EMULATION_PATH, Emulation(context, peers)),
        Route("/connection/init", _Hello(context, ("GET", "POST"), ())),
    ]


class StreamTransport:
    """See `outlet.Transport`. Writes go to the socket of the response, as chunks.

    Reading cannot be paused: commands come in requests of their own, and the connection bounds how many of them wait.
    """

    __slots__ = ("_connection", "_context", "_format", "_over", "_session", "_socket")

    def __init__(
        self, socket: HttpSocket, context: EdgeContext, format: Format, session: str, address: str, arrival: Arrival
    ) -> None:
        self._socket = socket
        self._context = context
        self._format = format
        self._session = session
        self._over = asyncio.Event()
        self._connection = Connection(context, self, format, session, address=address, arrival=arrival)
        context.registry.add_stream(session, self._connection)
        socket.hold(self)

    def begin(self, message: bytes) -> None:
        """Handles the client's first message: commands, or a `ConnectRequest` on a unidirectional stream."""
        if _TYPES[self._format] == "text/event-stream":
            self._socket.write_chunk(_EVENT_STREAM_BEGINS)
        if self._format.unidirectional:
            self._connection.connect_received(message)
        else:
            self._connection.message_received(message)

    async def over(self) -> None:
        """Waits until the connection has ended, and its last message is written."""
        try:
            await self._over.wait()
        except asyncio.CancelledError:
            self._connection.cut(BY_DRAIN)  # the server ends its requests
            raise

    # --- called by the connection ------------------------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        if not self._over.is_set():
            self._socket.write_chunk(data)

    def get_write_buffer_size(self) -> int:
        return self._socket.transport.get_write_buffer_size()

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass

    def is_closing(self) -> bool:
        return self._over.is_set() or self._socket.transport.is_closing()

    def close(self) -> None:
        self._over.set()

    def abort(self) -> None:
        self._over.set()
        self._socket.transport.abort()

    # --- called by the socket ----------------------------------------------------------------------------------------

    def pause_writing(self) -> None:
        self._connection.pause_writing()

    def resume_writing(self) -> None:
        self._connection.resume_writing()

    def connection_lost(self) -> None:
        self._over.set()
        self._context.registry.remove_stream(self._session)
        self._connection.lost()


class StreamEndpoint(Endpoint):
    """The address of one kind of stream."""

    def __init__(
        self,
        context: EdgeContext,
        transport: str,
        methods: tuple[str, ...],
        format_of: Callable[[HttpRequest], Format],
        max_streams: int,
    ) -> None:
        super().__init__(context, methods, (transport,))
        self._format_of = format_of
        self._max_streams = max_streams

    async def answer(self, request: HttpRequest, send: Send) -> Response | None:
        address = counted_as(request.client)
        self._check_room()
        self.check_door(self.context.door.knock(address, self.context.clock.now()))
        arrival = self._arrival(request)
        format = self._format_of(request)
        message = await self._first_message(request)
        if message is None:
            return None
        if not message and not format.unidirectional:
            raise Refusal(400, "expected a connect command, in the body or, with GET, in the parameter cf_connect")
        self._check_room()  # others may have come while the body arrived
        self.check_door(self.context.door.full(address))
        headers = {"Content-Type": _TYPES[format], **_HEADERS, **request.cors}
        raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": 200, "headers": raw})
        socket = socket_of(request.scope)
        if not socket.transport.is_closing():
            session = secrets.token_urlsafe(SESSION_BYTES)
            stream = StreamTransport(socket, self.context, format, session, address, arrival)
            stream.begin(message)
            await stream.over()
        await send({"type": "http.response.body"})
        return None

    def _arrival(self, request: HttpRequest) -> Arrival:
        policy, user = self.context.policy, ""
        if policy.user_header is not None:
            if request.count(policy.user_header.name) > 1:
                raise Refusal(400, f"expected the header {policy.user_header.name} once")
            try:
                user = policy.user_header.user(request.by_proxy, request.header)
            except ValueError as error:
                raise Refusal(400, str(error)) from None
        return arrival_of(request.client or "", request.header, policy.kept, request.by_proxy, user)

    def refused(self, refusal: Refusal) -> None:
        self.context.tally.refused_upgrade(refusal.cause)

    async def _first_message(self, request: HttpRequest) -> bytes | None:
        limit = self.context.policy.section.message_size_limit
        if request.method != "GET":
            return await request.body(limit)
        message = request.query("cf_connect").encode()
        if len(message) > limit:
            raise Refusal(413, f"expected a cf_connect of at most {limit} bytes", cause="too_large")
        return message

    def _check_room(self) -> None:
        why, cause = self.context.admission.refusal(), self.context.admission.cause
        if why is None and self.context.registry.streams >= self._max_streams:
            why, cause = "this edge has reached its limit of HTTP streams (edge.max_http_streams)", "no_room"
        if why is not None:
            raise Refusal(503, f"{why}, try again", {"Retry-After": "1"}, cause)


class _Hello(Endpoint):
    """A connectivity check, answered with an empty object; also lets a page open a connection in advance."""

    async def answer(self, request: HttpRequest, send: Send) -> Response:
        return Response(b"{}", headers=request.cors, media_type="application/json")
