"""A TCP connection that a test can cut: a proxy in front of one server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

from deploy.processes.ports import free_port

_CHUNK = 64 * 1024


class CuttableLink:
    """Passes bytes both ways between its own port and a server's, until the test stops that."""

    def __init__(self, server_url: str) -> None:
        self._server_port = urlsplit(server_url).port
        self.port = free_port()
        self.url = f"nats://127.0.0.1:{self.port}"
        self._passes = asyncio.Event()
        self._passes.set()
        self._open: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self._accepted: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)

    async def close(self) -> None:
        self.drop()
        await asyncio.gather(*self._accepted)

    def freeze(self) -> None:
        """Holds all bytes back, as if the cable was pulled: neither side notices."""
        self._passes.clear()

    def drop(self) -> None:
        """Ends the connections, and accepts no new ones."""
        assert self._server is not None
        self._server.close()
        for writer in self._open:
            writer.transport.abort()
        self._passes.set()

    async def mend(self) -> None:
        """Accepts connections again."""
        await self.start()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._accepted.add(task)
        task.add_done_callback(self._accepted.discard)
        try:
            server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self._server_port)
        except OSError:
            writer.transport.abort()
            return
        if self._server is None or not self._server.is_serving():  # it was dropped meanwhile
            writer.transport.abort()
            server_writer.transport.abort()
            return
        self._open |= {writer, server_writer}
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(self._pass(reader, server_writer))
                both.create_task(self._pass(server_reader, writer))
        finally:
            for each in (writer, server_writer):
                self._open.discard(each)
                each.transport.abort()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(_CHUNK):
                await self._passes.wait()
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.transport.abort()


@asynccontextmanager
async def cuttable(server_url: str) -> AsyncIterator[CuttableLink]:
    """A link to a server, closed at the end."""
    link = CuttableLink(server_url)
    await link.start()
    try:
        yield link
    finally:
        await link.close()
