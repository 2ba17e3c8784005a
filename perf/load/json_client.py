"""A client in JSON on asyncio: sends one command after the other, and keeps the pushes with their times of arrival.

For modes that follow what happens to a few clients. `wire_client` is the one for thousands.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import websockets
from websockets.asyncio.client import ClientConnection

ANSWER_S = 10.0
"""How long a reply may take before the run fails."""


class JsonClient:
    """Made by `connected`. `pushes` are (time.monotonic() of arrival, push)."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._last_id = 0
        self._replies: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self.pushes: list[tuple[float, dict[str, Any]]] = []
        self.reading = asyncio.create_task(self._read())

    async def command(self, **request: Any) -> dict[str, Any]:
        """Sends a command; returns its reply, even if that is an error. Raises `TimeoutError`."""
        self._last_id += 1
        future = self._replies[self._last_id] = asyncio.get_running_loop().create_future()
        await self._socket.send(msgspec.json.encode({"id": self._last_id, **request}).decode())
        return await asyncio.wait_for(future, ANSWER_S)

    async def ping_s(self) -> float:
        """Seconds until the WebSocket answers a ping. Raises `websockets.ConnectionClosed`."""
        began = time.monotonic()
        await (await self._socket.ping())
        return time.monotonic() - began

    async def _read(self) -> None:
        with contextlib.suppress(websockets.ConnectionClosed):
            async for frame in self._socket:
                for line in frame.split("\n" if isinstance(frame, str) else b"\n"):  # type: ignore[arg-type]  # of one kind
                    self._receive(msgspec.json.decode(line))

    def _receive(self, message: dict[str, Any]) -> None:
        if not message:
            asyncio.get_running_loop().create_task(self._pong())
        elif "push" in message:
            self.pushes.append((time.monotonic(), message["push"]))
        elif (future := self._replies.pop(message["id"], None)) is not None and not future.done():
            future.set_result(message)

    async def _pong(self) -> None:
        with contextlib.suppress(websockets.ConnectionClosed):
            await self._socket.send("{}")


@contextlib.asynccontextmanager
async def connected(url: str, token: str) -> AsyncIterator[JsonClient]:
    """A client that has connected. Raises OSError, and `AssertionError` when it is refused."""
    async with websockets.connect(url, compression=None, proxy=None) as socket:
        client = JsonClient(socket)
        try:
            reply = await client.command(connect={"token": token})
            assert "connect" in reply, reply
            yield client
        finally:
            client.reading.cancel()
            await asyncio.wait([client.reading])
