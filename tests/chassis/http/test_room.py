"""Sockets when descriptors run short: those that only wait make room, and nobody else is closed for a new one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from services.chassis.http.limits import BoundedHttpProtocol
from tests.support.eventually import eventually

HEAD = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
Caller = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def answer(request: Request) -> Response:
    await request.body()
    return PlainTextResponse("here")


class Server:
    """Has room for so many sockets."""

    def __init__(self) -> None:
        self.room = 3
        self.port = 0
        self._sockets = AsyncExitStack()

    async def call(self, said: bytes = b"") -> Caller:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        self._sockets.callback(writer.close)
        writer.write(said)
        return reader, writer

    async def close(self) -> None:
        await self._sockets.aclose()


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    made = Server()

    class Protocol(BoundedHttpProtocol):
        room = staticmethod(lambda: made.room)

    app = Starlette(routes=[Route("/", answer, methods=["GET", "POST"])])
    config = uvicorn.Config(app, host="127.0.0.1", port=0, http=Protocol, lifespan="off", log_config=None)
    running = uvicorn.Server(config)
    serving = asyncio.create_task(running._serve())  # serve() would take over the signals
    await eventually(lambda: running.started)
    made.port = running.servers[0].sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        await made.close()
        running.should_exit = True
        await serving


async def status(caller: Caller) -> int:
    line = await asyncio.wait_for(caller[0].readline(), 5)
    return int(line.split()[1])


async def test_the_socket_that_has_waited_longest_makes_room(server: Server) -> None:
    idle = [await server.call() for _ in range(3)]
    fresh = await server.call(HEAD)
    assert await status(fresh) == 200
    assert await status(idle[0]) == 408
    idle[2][1].write(HEAD)
    assert await status(idle[2]) == 200, "the others stay"


async def test_a_flood_of_silent_sockets_keeps_nobody_out(server: Server) -> None:
    for _ in range(50):
        await server.call()
        assert await status(await server.call(HEAD)) == 200


async def test_where_all_have_a_request_in_progress_a_new_one_is_refused(server: Server) -> None:
    busy = [await server.call(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n1") for _ in range(3)]
    for _ in range(2):
        assert await status(await server.call(HEAD)) == 503
    for each in busy:
        each[1].write(b"2")
        assert await status(each) == 200
