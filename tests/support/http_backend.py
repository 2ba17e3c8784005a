"""An application's HTTP backend, as a server of the test: plain bytes, so that it can answer anything at all."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Asked:
    """A request: `path`, headers by their names in lower case, the body, and the number of its connection."""

    path: str
    headers: dict[str, str]
    body: bytes
    connection: int

    @property
    def question(self) -> Any:
        return json.loads(self.body)


Answer = Callable[[Asked], bytes | Awaitable[bytes]]
"""Returns everything that is written to the socket."""


def answer(value: Any, status: str = "200 OK", headers: str = "") -> bytes:
    """A response with a body of JSON, or of these bytes."""
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n{headers}\r\n"
    return head.encode() + body


@dataclass
class HttpDouble:
    """Answers by `answers`, and keeps what it was asked. `closes`: after each answer it closes the connection."""

    answers: Answer
    closes: bool = False
    asked: list[Asked] = field(default_factory=list)
    connections: int = 0
    open: int = 0
    at_once: int = 0
    most_at_once: int = 0
    url: str = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open += 1
        number = self.connections
        try:
            with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
                while True:
                    await self._answer(await self._read(reader, number), writer)
                    if self.closes:
                        break
        finally:
            self.open -= 1
            writer.close()
            with contextlib.suppress(ConnectionError, ssl.SSLError):
                await writer.wait_closed()

    async def _answer(self, asked: Asked, writer: asyncio.StreamWriter) -> None:
        self.asked.append(asked)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            given = self.answers(asked)
            writer.write(given if isinstance(given, bytes) else await given)
            await writer.drain()
        finally:
            self.at_once -= 1

    async def _read(self, reader: asyncio.StreamReader, number: int) -> Asked:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("utf-8").split("\r\n")
        pairs = [line.partition(": ") for line in head[1:] if line]
        headers = {name.lower(): value for name, _, value in pairs}
        body = await reader.readexactly(int(headers["content-length"]))
        return Asked(head[0].split(" ")[1], headers, body, number)


@asynccontextmanager
async def http_double(
    answers: Answer, closes: bool = False, tls: ssl.SSLContext | None = None
) -> AsyncIterator[HttpDouble]:
    """Yields a backend that listens at `url`."""
    double = HttpDouble(answers, closes)
    tasks: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(double.serve(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=tls)
    scheme = "http" if tls is None else "https"
    double.url = f"{scheme}://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield double
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
