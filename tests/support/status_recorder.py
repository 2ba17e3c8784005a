"""Sends the same request again and again, and keeps each result: how an outage looks to a client."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

_ANSWER_S = 12.0
PAUSE_S = 0.005
"""Seconds between two requests: every longer outage is seen."""

UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
}
"""The headers of a client that opens a WebSocket."""


class StatusRecorder:
    """What one request got: `seen` counts by HTTP status, or by the name of what went wrong with the connection."""

    def __init__(self, port: int, head: bytes) -> None:
        self._port = port
        self._head = head
        self.seen: Counter[str] = Counter()
        self.last = ""

    async def ask(self) -> str:
        """Sends the request on a connection of its own, and waits for the status."""
        try:
            async with asyncio.timeout(_ANSWER_S):
                self.last = await self._ask()
        except (OSError, TimeoutError) as error:
            self.last = type(error).__name__
        self.seen[self.last] += 1
        return self.last

    async def _ask(self) -> str:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            writer.write(self._head)
            line = await reader.readline()
            return line.split()[1].decode() if line else "closed"
        finally:
            writer.transport.abort()


def request(
    port: int, path: str, method: str = "GET", headers: Mapping[str, str] | None = None, body: str = ""
) -> StatusRecorder:
    """A recorder of this request."""
    fields = {"Host": f"127.0.0.1:{port}", "Connection": "close", **(headers or {})}
    if body:
        fields |= {"Content-Length": str(len(body)), "Content-Type": "application/json"}
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return StatusRecorder(port, f"{method} {path} HTTP/1.1\r\n{head}\r\n{body}".encode())


@asynccontextmanager
async def recording(*recorders: StatusRecorder, pause_s: float = PAUSE_S) -> AsyncIterator[None]:
    """Each recorder sends its request again and again, until the end of the block."""

    async def ask_on(recorder: StatusRecorder) -> None:
        while True:
            await recorder.ask()
            await asyncio.sleep(pause_s)

    tasks = [asyncio.ensure_future(ask_on(each)) for each in recorders]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
