"""A client of plain HTTP for tests. They ask thousands of times: a call takes a quarter of what httpx alone takes."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable
from typing import Any, Final, TypeVar

import httptools
import httpx

T = TypeVar("T")

_READ_BYTES: Final = 256 * 1024


def http_client(**options: Any) -> httpx.AsyncClient:
    """Without the proxies of the environment, and without TLS unless `verify` is given.

    Each request has a connection of its own, so that a server that was started again is asked like any other.
    """
    if not {"transport", "verify"} & options.keys():
        options["transport"] = _Plain()
    return httpx.AsyncClient(**{"trust_env": False, **options})


class _Plain(httpx.AsyncBaseTransport):
    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        within_s: dict[str, float | None] = request.extensions["timeout"]
        host, port = request.url.host, request.url.port or 80
        loop, connection = asyncio.get_running_loop(), socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        connection.setblocking(False)
        answer = _Answer(connection, request.method == "HEAD", within_s["read"])
        try:
            connecting = loop.sock_connect(connection, (host, port))
            await _step(connecting, within_s["connect"], httpx.ConnectTimeout, httpx.ConnectError)
            sending = loop.sock_sendall(connection, await _encoded(request))
            await _step(sending, within_s["write"], httpx.WriteTimeout, httpx.WriteError)
            await answer.begin()
        except BaseException:
            connection.close()
            raise
        return httpx.Response(answer.status, headers=answer.headers, stream=answer)


async def _encoded(request: httpx.Request) -> bytes:
    assert "transfer-encoding" not in request.headers, "a body has a length"
    head = [b"%s %s HTTP/1.1\r\n" % (request.method.encode(), request.url.raw_path)]
    head += [b"%s: %s\r\n" % header for header in request.headers.raw]
    return b"".join([*head, b"\r\n", await request.aread()])


async def _step(work: Awaitable[T], within_s: float | None, late: type[Exception], failed: type[Exception]) -> T:
    try:
        async with asyncio.timeout(within_s):
            return await work
    except TimeoutError:
        raise late(f"not within {within_s} s") from None
    except OSError as error:
        raise failed(str(error)) from error


class _Answer(httpx.AsyncByteStream):
    """An answer as it comes. The methods `on_...` are for its parser."""

    def __init__(self, connection: socket.socket, is_head: bool, within_s: float | None) -> None:
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self._connection = connection
        self._is_head = is_head
        self._within_s = within_s
        self._parser = httptools.HttpResponseParser(self)
        self._parts: list[bytes] = []
        self._has_ended = False

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        self.status = self._parser.get_status_code()
        self._has_ended = self._is_head

    def on_body(self, part: bytes) -> None:
        self._parts.append(part)

    def on_message_complete(self) -> None:
        self._has_ended = True

    async def begin(self) -> None:
        """Returns when its head is there."""
        while not self.status:
            await self._read()

    async def _read(self) -> None:
        reading = asyncio.get_running_loop().sock_recv(self._connection, _READ_BYTES)
        data = await _step(reading, self._within_s, httpx.ReadTimeout, httpx.ReadError)
        if not data:
            raise httpx.RemoteProtocolError("the connection was closed before the end of the answer")
        self._parser.feed_data(data)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            parts, self._parts = self._parts, []
            for part in parts:
                yield part
            if self._has_ended:
                return
            await self._read()

    async def aclose(self) -> None:
        self._connection.close()
