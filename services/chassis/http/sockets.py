"""The socket under an HTTP response that lasts as long as a WebSocket does.

ASGI's `send` waits while the socket is full, does not say how much is buffered, and cannot drop a client that does not
read. A long response needs all three, so it gets the socket itself. uvicorn writes the head and the end of the
response; everything in between goes to the socket as chunks, without another queue.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, MutableMapping
from typing import Any, Final, Protocol, cast

from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from services.chassis.http.paced import PacedHttpProtocol

_EXTENSION: Final = "fairlead.socket"  # of the ASGI scope


class SocketListener(Protocol):
    """The events of a socket, under asyncio's names."""

    def pause_writing(self) -> None:
        """The socket is full. Called during a write."""

    def resume_writing(self) -> None:
        """The socket has drained."""

    def connection_lost(self) -> None:
        """The socket is closed."""


class HttpSocket:
    """The socket of one client. `listener` is the response that holds it; None until there is one."""

    __slots__ = ("_resume_reading", "listener", "transport")

    def __init__(self, transport: asyncio.Transport, resume_reading: Callable[[], None]) -> None:
        self.transport = transport
        self.listener: SocketListener | None = None
        self._resume_reading = resume_reading

    def hold(self, listener: SocketListener) -> None:
        """Hands the socket to `listener`, which must close it. What the client still sends is read and ignored.

        It must be read, because only reading shows that the client has gone.
        """
        self.listener = listener
        self._resume_reading()  # uvicorn pauses if a second request follows the first at once

    def write_chunk(self, data: bytes) -> None:
        """Writes a part of a response with `Transfer-Encoding: chunked`. Skips an empty part, which would end it."""
        if data:
            # Not joined, since all subscribers of a channel may share `data`.
            self.transport.writelines((b"%x\r\n" % len(data), data, b"\r\n"))


def socket_of(scope: MutableMapping[str, Any]) -> HttpSocket:
    """The socket of a request. Raises KeyError if the server is not ours."""
    return cast("HttpSocket", scope["extensions"][_EXTENSION])


def with_socket(scope: MutableMapping[str, Any], socket: HttpSocket) -> None:
    """Adds the socket to a request."""
    scope.setdefault("extensions", {})[_EXTENSION] = socket


class SocketHttpProtocol(PacedHttpProtocol):
    """uvicorn's protocol, with limits, parsing in turns, and the socket in the scope of each request. For its option
    `http`."""

    _socket: HttpSocket
    _answering: RequestResponseCycle | None = None  # the request in progress; `cycle` is the newest one

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # uvicorn narrows it too
        super().connection_made(transport)
        self._socket = HttpSocket(transport, self.flow.resume_reading)

    def data_received(self, data: bytes) -> None:
        if self._socket.listener is None:
            super().data_received(data)

    def parse(self, part: bytes) -> None:
        if self._socket.listener is None:
            super().parse(part)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        with_socket(cast("MutableMapping[str, Any]", self.scope), self._socket)

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._socket.listener is not None:
            self._socket.listener.pause_writing()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._socket.listener is not None:
            self._socket.listener.resume_writing()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._answering = cycle
        super()._start_asgi_task(cycle, app)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answering is not None:
            self._answering.disconnected = True  # uvicorn notifies only the newest request
            self._answering.message_event.set()
        super().connection_lost(exc)
        listener, self._socket.listener = self._socket.listener, None
        if listener is not None:
            listener.connection_lost()
