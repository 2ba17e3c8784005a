"""The socket under an HTTP response that lasts as long as a WebSocket does.

ASGI's `send` waits while the socket is full, tells nobody how much waits in it, and cannot drop a client that does not
read. A long response needs all of that, so it gets the socket itself. uvicorn writes the head and the end of the
response; what comes in between goes to the socket as chunks, without a queue of our own before it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, MutableMapping
from typing import Any, Final, Protocol, cast

from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from services.chassis.http.limits import BoundedHttpProtocol

_EXTENSION: Final = "fairlead.socket"  # of the ASGI scope


class SocketListener(Protocol):
    """Whom a socket tells; the names are asyncio's. `pause_writing` is called inside of a write."""

    def pause_writing(self) -> None: ...
    def resume_writing(self) -> None: ...
    def connection_lost(self) -> None: ...


class HttpSocket:
    """One client's socket. `listener` is the response that holds it, if one does."""

    __slots__ = ("_resume_reading", "listener", "transport")

    def __init__(self, transport: asyncio.Transport, resume_reading: Callable[[], None]) -> None:
        self.transport = transport
        self.listener: SocketListener | None = None
        self._resume_reading = resume_reading

    def hold(self, listener: SocketListener) -> None:
        """From here on the socket is `listener`'s, and must be closed by it. What the client still sends is ignored.

        It is read, though: whether the client is there shows on a socket that is read from.
        """
        self.listener = listener
        self._resume_reading()  # uvicorn stops when a second request follows the first at once

    def write_chunk(self, data: bytes) -> None:
        """Writes a part of a response with `Transfer-Encoding: chunked`. An empty part would be the end of it."""
        if data:
            # Not joined: `data` may be shared by all subscribers of a channel.
            self.transport.writelines((b"%x\r\n" % len(data), data, b"\r\n"))


def socket_of(scope: MutableMapping[str, Any]) -> HttpSocket:
    """The socket that a request came on. Raises KeyError on another server than ours."""
    return cast("HttpSocket", scope["extensions"][_EXTENSION])


def with_socket(scope: MutableMapping[str, Any], socket: HttpSocket) -> None:
    """Adds the socket to a request."""
    scope.setdefault("extensions", {})[_EXTENSION] = socket


class SocketHttpProtocol(BoundedHttpProtocol):
    """Gives each request its socket; handed to uvicorn by its `http=` option."""

    _socket: HttpSocket
    _answering: RequestResponseCycle | None = None  # the request in progress; uvicorn's `cycle` is the newest one

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # uvicorn narrows it too
        super().connection_made(transport)
        self._socket = HttpSocket(transport, self.flow.resume_reading)

    def data_received(self, data: bytes) -> None:
        if self._socket.listener is None:
            super().data_received(data)

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
            self._answering.disconnected = True  # uvicorn tells the newest request alone
            self._answering.message_event.set()
        super().connection_lost(exc)
        listener, self._socket.listener = self._socket.listener, None
        if listener is not None:
            listener.connection_lost()
