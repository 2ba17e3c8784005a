"""A receiver of webhooks that accepts everything at once, and counts the events."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from deploy.processes.ports import HOST

_TAKEN = b"HTTP/1.1 204 No Content\r\n\r\n"
_EVENT = b'{"type":"'


class WebhookReceiver:
    """Made by `running_receiver`. `events` and `requests` count what has come."""

    def __init__(self) -> None:
        self.port = 0
        self.events = 0
        self.requests = 0

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serves one connection until it ends."""
        with contextlib.suppress(asyncio.IncompleteReadError, OSError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
                body = await reader.readexactly(int(length.partition(b":")[2]))
                self.requests += 1
                self.events += body.count(_EVENT)
                writer.write(_TAKEN)
        writer.close()


@contextlib.asynccontextmanager
async def running_receiver() -> AsyncIterator[WebhookReceiver]:
    """It listens on `port`, on this machine."""
    receiver = WebhookReceiver()
    server = await asyncio.start_server(receiver.answer, HOST, 0)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        server.close()
