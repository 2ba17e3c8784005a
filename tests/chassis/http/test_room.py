"""Sockets when descriptors run short: only sockets that wait are closed to make room for new ones."""

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

from services.chassis.http.limits import SPARE, BoundedHttpProtocol
from tests.support.eventually import eventually

HEAD = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
HALF_BODY = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n1"
IN_PROGRESS = b"GET /gated HTTP/1.1\r\nHost: x\r\n\r\n"
READY = b"GET /readyz?really HTTP/1.1\r\nHost: x\r\n\r\n"
Caller = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def answer(request: Request) -> Response:
    await request.body()
    return PlainTextResponse("here")


async def gated(request: Request) -> Response:
    """An answer that waits for the test."""
    request.app.state.waiting += 1
    await request.app.state.gate.wait()
    return PlainTextResponse("at last")


class Server:
    """Sets how many sockets there is room for."""

    def __init__(self) -> None:
        self.room = 3
        self.turned_away: list[str] = []
        self.port = 0
        self.app = Starlette(
            routes=[Route("/", answer, methods=["GET", "POST"]), Route("/gated", gated), Route("/readyz", answer)]
        )
        self.app.state.gate, self.app.state.waiting = asyncio.Event(), 0
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

    Protocol.turned_away = staticmethod(made.turned_away.append)
    config = uvicorn.Config(made.app, host="127.0.0.1", port=0, http=Protocol, lifespan="off", log_config=None)
    running = uvicorn.Server(config)
    serving = asyncio.create_task(running._serve())  # serve() would take over the signals
    await eventually(lambda: running.started)
    made.port = running.servers[0].sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        made.app.state.gate.set()
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
    busy = [await server.call(IN_PROGRESS) for _ in range(3)]
    await eventually(lambda: server.app.state.waiting == 3)
    for _ in range(2):
        assert await status(await server.call(HEAD)) == 503
    assert server.turned_away == ["no_room"] * 2
    server.app.state.gate.set()
    for each in busy:
        assert await status(each) == 200


async def test_who_asks_whether_the_server_is_ready_is_answered_then_too(server: Server) -> None:
    busy = [await server.call(IN_PROGRESS) for _ in range(3)]
    await eventually(lambda: server.app.state.waiting == 3)
    for _ in range(2 * SPARE):
        assert await status(await server.call(READY)) == 200, "and its connection makes room for the next one"
    server.app.state.gate.set()
    for each in busy:
        assert await status(each) == 200


async def test_the_oldest_of_those_with_half_a_body_makes_room(server: Server) -> None:
    half = [await server.call(HALF_BODY) for _ in range(3)]
    assert await status(await server.call(HEAD)) == 200
    assert await status(half[0]) == 408
    half[2][1].write(b"2")
    assert await status(half[2]) == 200, "the others stay"


async def test_a_flood_of_half_bodies_keeps_nobody_out(server: Server) -> None:
    for _ in range(50):
        await server.call(HALF_BODY)
        assert await status(await server.call(HEAD)) == 200


async def test_half_bodies_make_room_before_who_came_later_and_has_said_nothing_yet(server: Server) -> None:
    half = [await server.call(HALF_BODY) for _ in range(3)]
    late = await server.call()
    assert await status(half[0]) == 408
    assert await status(await server.call(HEAD)) == 200
    assert await status(half[1]) == 408
    late[1].write(HEAD)
    assert await status(late) == 200
