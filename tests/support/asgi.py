"""A request to an ASGI application without a server: its messages, its answer, and the calls on its socket."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from starlette.types import ASGIApp, Message, Scope

from services.chassis.http.client_address import mark_by_proxy
from services.chassis.http.sockets import HttpSocket, with_socket


class FakeSocketTransport:
    """Keeps the written data. After `stall` it reports within the next write that it is full."""

    def __init__(self) -> None:
        self.socket = HttpSocket(cast("asyncio.Transport", self), lambda: None)
        self.written = b""
        self.stall = False
        self.gone = False
        self.aborted = False

    def writelines(self, parts: Any) -> None:
        assert not self.gone, "a write to a socket that is gone"
        self.written += b"".join(parts)
        if self.stall and self.socket.listener is not None:
            self.stall = False
            self.socket.listener.pause_writing()

    def get_write_buffer_size(self) -> int:
        return 0

    def is_closing(self) -> bool:
        return self.gone

    def abort(self) -> None:
        self.aborted = True
        asyncio.get_running_loop().call_soon(self.lose)

    def lose(self) -> None:
        """The connection is gone."""
        self.gone = True
        if self.socket.listener is not None:
            listener, self.socket.listener = self.socket.listener, None
            listener.connection_lost()

    @property
    def chunks(self) -> list[bytes]:
        """The parts of the response."""
        found, rest = [], self.written
        while rest:
            size, _, rest = rest.partition(b"\r\n")
            length = int(size, 16)
            assert length and rest[length : length + 2] == b"\r\n"
            found.append(rest[:length])
            rest = rest[length + 2 :]
        return found


class Call:
    """One request. `answered` waits for the end of the answer; `task` is its task."""

    def __init__(
        self,
        app: ASGIApp,
        method: str = "POST",
        body: bytes | list[bytes] = b"",
        headers: dict[str, str] | None = None,
        query: str = "",
        complete: bool = True,
        path: str = "/tested",
        client: str = "",
        by_proxy: bool = False,
    ) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = b""
        self.over = False
        self.transport = FakeSocketTransport()
        self.leaves = asyncio.Event()
        self._parts = [body] if isinstance(body, bytes) else body
        self._complete = complete
        lines = [(name.lower().encode(), value.encode("latin-1")) for name, value in (headers or {}).items()]
        scope: Scope = {
            "type": "http",
            "method": method,
            "path": path,
            "query_string": query.encode(),
            "headers": lines,
            "client": (client, 0) if client else None,
        }
        with_socket(scope, self.transport.socket)
        if by_proxy:
            mark_by_proxy(scope)
        self.task = asyncio.get_running_loop().create_task(cast("Any", app(scope, self._receive, self._send)))

    async def _receive(self) -> Message:
        await asyncio.sleep(0)  # no body comes at once
        if self._parts:
            part = self._parts.pop(0)
            return {"type": "http.request", "body": part, "more_body": bool(self._parts) or not self._complete}
        await self.leaves.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        assert not self.over, "nothing follows the end"
        if message["type"] == "http.response.start":
            assert not self.status
            self.status = message["status"]
            self.headers = {name.decode(): value.decode("latin-1") for name, value in message["headers"]}
        else:
            assert self.status
            self.body += message.get("body", b"")
            self.over = not message.get("more_body", False)

    async def answered(self) -> int:
        """The status of a complete answer, 0 for none."""
        await asyncio.wait_for(self.task, 10)
        assert self.over or not self.status
        return self.status
