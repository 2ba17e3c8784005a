"""Publishes as a backend does, over a few TCP connections that stay open. One for each publication in flight."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from perf.ways import Way

ANSWER_S = 10.0
_MAX_HEAD_BYTES = 16 * 1024

_Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class PublishFailed(Exception):
    """A publication was refused, or not answered in time."""


class Publisher:
    """Made by `publishing`."""

    def __init__(self, way: Way) -> None:
        self._way = way
        self._idle: asyncio.Queue[_Connection] = asyncio.Queue()
        self._writers: list[asyncio.StreamWriter] = []

    async def connect(self, connections: int) -> None:
        for _ in range(connections):
            reader, writer = await asyncio.open_connection("127.0.0.1", self._way.port, limit=_MAX_HEAD_BYTES)
            writer.write(self._way.greeting)
            self._writers.append(writer)
            self._idle.put_nowait((reader, writer))

    async def publish(self, channel: str, data: bytes) -> None:
        """Returns when it was taken, which is all that most systems tell. Raises `PublishFailed`, OSError."""
        reader, writer = await self._idle.get()
        writer.write(self._way.encode(channel, data))
        try:
            async with asyncio.timeout(ANSWER_S):
                if self._way.answered:
                    _check(self._way, *await _answer(reader))
                else:
                    await writer.drain()
        except (TimeoutError, asyncio.IncompleteReadError) as error:
            raise PublishFailed(f"a publication was not answered: {type(error).__name__}") from None
        self._idle.put_nowait((reader, writer))

    async def close(self) -> None:
        for writer in self._writers:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


@contextlib.asynccontextmanager
async def publishing(way: Way, connections: int) -> AsyncIterator[Publisher]:
    publisher = Publisher(way)
    try:
        await publisher.connect(connections)
        yield publisher
    finally:
        await publisher.close()


async def _answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """Status and body of one HTTP answer."""
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    _, found, rest = head.partition(b"content-length:")
    if found:
        body = await reader.readexactly(int(rest.partition(b"\r\n")[0]))
    elif b"transfer-encoding: chunked" in head:
        body = await reader.readuntil(b"0\r\n\r\n")
    else:
        body = b""
    return int(head.split(b" ", 2)[1]), body


def _check(way: Way, status: int, body: bytes) -> None:
    if not 200 <= status < 300 or not way.took(body):
        raise PublishFailed(f"a publication was answered {status}: {body[:200].decode(errors='replace')}")
