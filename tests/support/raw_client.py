"""A client of HTTP by its socket, which reads as much as a test wants it to, and an application on a real uvicorn."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import uvicorn

from services.chassis.http.sockets import SocketHttpProtocol
from tests.support.eventually import eventually


@asynccontextmanager
async def served(app: Any) -> AsyncIterator[int]:
    """The port of 127.0.0.1 at which `app` is served as a service serves it."""
    config = uvicorn.Config(app, host="127.0.0.1", port=0, http=SocketHttpProtocol, lifespan="off", log_config=None)
    server = uvicorn.Server(config)
    running = asyncio.create_task(server._serve())  # serve() would take over the signals
    await eventually(lambda: server.started)
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        await running


@asynccontextmanager
async def asking(app: Any, path: str, headers: Mapping[str, str] | None = None) -> AsyncIterator[socket.socket]:
    """A socket that takes little at a time, on which `app` was asked for `path`."""
    loop = asyncio.get_running_loop()
    async with served(app) as port:
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
            client.setblocking(False)
            await loop.sock_connect(client, ("127.0.0.1", port))
            lines = [
                f"GET {path} HTTP/1.1",
                "Host: x",
                *(f"{name}: {value}" for name, value in (headers or {}).items()),
            ]
            await loop.sock_sendall(client, "\r\n".join([*lines, "", ""]).encode())
            yield client


async def everything(client: socket.socket) -> bytearray:
    """Everything that arrives until the connection ends."""
    received = bytearray()
    while data := await asyncio.get_running_loop().sock_recv(client, 1_000_000):
        received += data
    return received
