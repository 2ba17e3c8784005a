"""A balancer in front of edges: each connection goes to the first edge that is ready at that moment."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress

from deploy.processes.readiness import http_status
from tests.support.processes import ServiceProcess

_CHUNK = 64 * 1024


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(_CHUNK):
            writer.write(data)
            await writer.drain()
    writer.close()


@asynccontextmanager
async def balanced(edges: Sequence[ServiceProcess]) -> AsyncIterator[str]:
    """Yields the address for WebSockets of a balancer in front of `edges`."""

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for edge in edges:
            if await asyncio.to_thread(http_status, edge.port, "GET", "/readyz") == 200:
                break
        else:
            writer.close()
            return
        edge_reader, edge_writer = await asyncio.open_connection("127.0.0.1", edge.port)
        await asyncio.gather(_pass(reader, edge_writer), _pass(edge_reader, writer))

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    try:
        yield f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/connection/websocket"
    finally:
        server.close()
