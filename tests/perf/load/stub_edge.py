"""A peer for the load generator: connect and subscribe over a stock WebSocket library, with errors on demand."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response


@dataclass
class StubEdge:
    """Set the fields to make it fail the next clients; it counts what they send."""

    http_status: int = 101  # any other status refuses the upgrade
    silent: bool = False  # accepts the WebSocket, answers no command
    errors: dict[str, tuple[int, str]] = field(default_factory=dict)  # method -> error reply
    close_on_connect: tuple[int, str] | None = None
    answer: str | None = None  # sent in place of the replies
    subscribed: dict[str, Any] = field(default_factory=dict)  # the result of a subscribe
    commands: list[dict[str, Any]] = field(default_factory=list)
    pongs: int = 0
    close_codes: list[int] = field(default_factory=list)  # that clients sent
    open: set[ServerConnection] = field(default_factory=set)
    port: int = 0

    async def send(self, text: str) -> None:
        for connection in list(self.open):
            await connection.send(text)

    async def close(self, code: int, reason: str) -> None:
        for connection in list(self.open):
            await connection.close(code, reason)

    async def handle(self, connection: ServerConnection) -> None:
        self.open.add(connection)
        try:
            async for frame in connection:
                assert isinstance(frame, str)
                await self._frame(connection, frame)
        except ConnectionClosed:
            pass
        finally:
            self.open.discard(connection)
            if connection.protocol.close_rcvd is not None:
                self.close_codes.append(connection.protocol.close_rcvd.code)

    async def _frame(self, connection: ServerConnection, frame: str) -> None:
        replies = []
        for line in frame.split("\n"):
            command = json.loads(line)
            if command == {}:
                self.pongs += 1
                continue
            self.commands.append(command)
            if "publish" in command:
                continue
            method = "connect" if "connect" in command else "subscribe"
            if method == "connect" and self.close_on_connect is not None:
                await connection.close(*self.close_on_connect)
                return
            if method in self.errors:
                code, message = self.errors[method]
                replies.append({"id": command["id"], "error": {"code": code, "message": message}})
                break
            result = (
                {"client": "c", "version": "stub", "ping": 25, "pong": True} if method == "connect" else self.subscribed
            )
            replies.append({"id": command["id"], method: result})
        if replies and not self.silent:
            await connection.send(self.answer or "\n".join(json.dumps(reply) for reply in replies))

    def process_request(self, connection: ServerConnection, request: Request) -> Response | None:
        if self.http_status == 101:
            return None
        return connection.respond(HTTPStatus(self.http_status), "no\n")


@contextlib.asynccontextmanager
async def running_stub() -> AsyncIterator[StubEdge]:
    stub = StubEdge()
    server: Server = await serve(
        stub.handle, "127.0.0.1", 0, process_request=stub.process_request, ping_interval=None, compression=None
    )
    async with server:
        stub.port = next(iter(server.sockets)).getsockname()[1]
        yield stub
