"""Answers in Traefik's place, on its ports, while it starts: 503, so that whoever asked asks again."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Final

MAX_AT_ONCE: Final = 1000
"""Connections that are being answered. One more is closed at once."""

_READ_S: Final = 2.0
_LINGER_S: Final = 1.0
_HEAD_BYTES: Final = 64 * 1024
_TLS: Final = b"\x16"  # the first byte of a TLS handshake

_TEXT: Final = b"Traefik is starting: try again\n"
ANSWER: Final = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain; charset=utf-8\r\nRetry-After: 1\r\n"
    b"Connection: close\r\nContent-Length: %d\r\n\r\n%s" % (len(_TEXT), _TEXT)
)


class StandIn:
    """`answer` is for `asyncio.start_server`."""

    def __init__(self) -> None:
        self._answering = 0

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answers one request, whatever it is. A TLS handshake gets no answer: there is no certificate here."""
        if self._answering >= MAX_AT_ONCE:
            writer.transport.abort()
            return
        self._answering += 1
        try:
            await _answer(reader, writer)
        except (OSError, TimeoutError):
            pass
        finally:
            self._answering -= 1
            writer.close()


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    head = b""
    async with asyncio.timeout(_READ_S):
        while b"\r\n\r\n" not in head and len(head) < _HEAD_BYTES:
            part = await reader.read(_HEAD_BYTES)
            if not part:
                break
            head += part
            if head[:1] == _TLS:
                return
    if not head:
        return
    writer.write(ANSWER)
    writer.write_eof()
    with contextlib.suppress(
        TimeoutError
    ):  # what is left of the request: closing before it is read would drop the answer
        async with asyncio.timeout(_LINGER_S):
            while await reader.read(_HEAD_BYTES):
                pass
