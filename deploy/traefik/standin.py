"""Answers in Traefik's place, on its ports, while it starts: 503, so that clients try again."""

from __future__ import annotations

import asyncio
from typing import Final, cast

MAX_AT_ONCE: Final = 1000
"""The most connections that are answered at a time. Further ones are closed at once."""

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
    """`answer` is for `loop.create_server`. `close` ends the connections that are being answered."""

    def __init__(self) -> None:
        self._answering: set[asyncio.BaseTransport] = set()

    def answer(self) -> asyncio.Protocol:
        """A protocol that answers one request of a new connection, whatever it is."""
        return _Answer(self._answering)

    def close(self) -> None:
        for transport in list(self._answering):
            transport.close()


class _Answer(asyncio.Protocol):
    """Reads one request, answers it, and reads the rest of it: closing before that would drop the answer. A TLS
    handshake gets no answer, as there is no certificate here. A client that takes too long is disconnected."""

    def __init__(self, answering: set[asyncio.BaseTransport]) -> None:
        self._answering = answering
        self._head = b""
        self._answered = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._limit = asyncio.get_running_loop().call_later(_READ_S, self._transport.abort)
        if len(self._answering) >= MAX_AT_ONCE:
            self._transport.abort()
        else:
            self._answering.add(transport)

    def data_received(self, data: bytes) -> None:
        if self._answered:
            return
        self._head += data
        if self._head.startswith(_TLS):
            self._transport.close()
        elif b"\r\n\r\n" in self._head or len(self._head) >= _HEAD_BYTES:
            self._answer()

    def eof_received(self) -> None:
        if self._head and not self._answered and not self._transport.is_closing():
            self._answer()

    def connection_lost(self, error: Exception | None) -> None:
        self._limit.cancel()
        self._answering.discard(self._transport)

    def _answer(self) -> None:
        self._answered = True
        self._head = b""
        self._transport.write(ANSWER)
        self._transport.write_eof()
        self._limit.cancel()
        self._limit = asyncio.get_running_loop().call_later(_LINGER_S, self._transport.close)
