"""One TCP connection of a backend that publishes: a publication goes out, its HTTP answer comes back, and so on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import cast

from perf.load import failures
from perf.load.publish_targets import PublishTarget

_STATUS = slice(9, 12)  # of "HTTP/1.1 200 OK"
_LAST_CHUNK = b"0\r\n\r\n"


class PublishConnection(asyncio.Protocol):
    """`on_answer(connection, failure, seconds)` is called with each answer: `failure` is None, or the cause.

    `on_lost(connection, cause)` is called once, when the connection has ended. Targets that do not answer cause no
    calls of `on_answer`; their pings are answered.
    """

    def __init__(
        self,
        target: PublishTarget,
        on_answer: Callable[[PublishConnection, str | None, float], None],
        on_lost: Callable[[PublishConnection, str], None],
    ) -> None:
        self._target = target
        self._on_answer, self._on_lost = on_answer, on_lost
        self._buffer = b""
        self._sent_at = 0.0
        self._transport: asyncio.Transport | None = None

    async def open(self) -> None:
        """Connects. Raises OSError."""
        await asyncio.get_running_loop().create_connection(lambda: self, "127.0.0.1", self._target.port)

    def publish(self, channel: str, data: bytes) -> None:
        """Sends a publication. The next one on this connection waits for the answer."""
        self._sent_at = time.monotonic()
        if self._transport is not None:
            self._transport.write(self._target.encode(channel, data))

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    # --- called by the loop ---------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(self._target.greeting)

    def data_received(self, data: bytes) -> None:
        if not self._target.answered:
            if (reply := self._target.reply(data)) and self._transport is not None:
                self._transport.write(reply)
            return
        self._buffer += data
        head, separator, body = self._buffer.partition(b"\r\n\r\n")
        if not separator or not _is_complete(head, body):
            return
        self._buffer = b""
        seconds = time.monotonic() - self._sent_at
        status = head[_STATUS].decode(errors="replace")
        taken = status.startswith("2") and self._target.took(body)
        failure = None if taken else f"http {status} {body[:80].decode(errors='replace')}".rstrip()
        self._on_answer(self, failure, seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._on_lost(self, failures.of_end(exc, "publishing"))


def _is_complete(head: bytes, body: bytes) -> bool:
    """True if `body` is all of the body that the head announces."""
    for line in head.lower().split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name == b"content-length":
            return len(body) >= int(value)
        if name == b"transfer-encoding" and b"chunked" in value:
            return body.endswith(_LAST_CHUNK)
    return True
