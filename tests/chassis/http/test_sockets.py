"""Responses that hold their socket, on a real uvicorn."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import uvicorn
from uvicorn.server import ServerState

from services.chassis.http.sockets import HttpSocket, SocketHttpProtocol, socket_of
from tests.support.eventually import eventually

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
MEGABYTE = b"x" * 1_000_000


class Response:
    """Holds its socket until it is ended. Each instance is in `begun`."""

    begun: list[Response]

    def __init__(self, socket: HttpSocket) -> None:
        self.socket = socket
        self.ends = asyncio.Event()
        self.paused = 0
        self.resumed = 0
        self.lost = 0
        self.finished = False

    def pause_writing(self) -> None:
        self.paused += 1

    def resume_writing(self) -> None:
        self.resumed += 1

    def connection_lost(self) -> None:
        self.lost += 1
        self.ends.set()


async def app(scope, receive, send):
    response = Response(socket_of(scope))
    Response.begun.append(response)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"connection", b"close")]})
    response.socket.hold(response)
    response.socket.write_chunk(b"hello")
    await response.ends.wait()
    while response.lost and (await receive())["type"] != "http.disconnect":
        pass
    await send({"type": "http.response.body"})
    response.finished = True


@asynccontextmanager
async def serving() -> AsyncIterator[int]:
    Response.begun = []
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
async def asking(port: int, said: bytes = GET) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A request whose response has begun."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(said)
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200") and b"transfer-encoding: chunked" in head
    yield reader, writer
    writer.close()


async def test_parts_are_chunks_and_uvicorn_ends_the_response() -> None:
    async with serving() as port, asking(port) as (reader, _):
        assert await reader.readexactly(10) == b"5\r\nhello\r\n"
        (response,) = Response.begun
        response.socket.write_chunk(b"")  # would be the end
        response.socket.write_chunk(b"a" * 26)
        assert await reader.readexactly(32) == b"1a\r\n" + b"a" * 26 + b"\r\n"
        response.ends.set()
        assert await reader.read() == b"0\r\n\r\n"
        await eventually(lambda: response.lost == 1)


async def test_a_response_is_told_when_its_client_does_not_read_and_may_drop_it() -> None:
    async with serving() as port, asking(port) as (reader, _):
        (response,) = Response.begun
        while not response.paused:
            response.socket.write_chunk(MEGABYTE)
        while not response.resumed:
            await reader.readexactly(100_000)
        while response.paused < 2:
            response.socket.write_chunk(MEGABYTE)
        response.ends.set()  # a client that does not read does not take the end either
        response.socket.transport.abort()
        await eventually(lambda: response.lost == 1 and response.finished)
        with pytest.raises(asyncio.IncompleteReadError):
            await reader.readexactly(int(1e9))


@pytest.mark.parametrize("behind", [b"", GET * 3, GET * 3 + b"GET /half"])
@pytest.mark.parametrize("at_once", [True, False])
async def test_a_client_that_leaves_is_noticed_whatever_it_said_behind_its_request(behind, at_once, caplog) -> None:
    async with serving() as port, asking(port, GET + behind * at_once) as (_, writer):
        (response,) = Response.begun
        writer.write(behind)
        await writer.drain()
        writer.close()
        await eventually(lambda: response.lost == 1 and response.finished)
    assert len(Response.begun) == 1, "a socket ends with the response that holds it"
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


async def test_later_data_on_the_socket_is_ignored() -> None:
    async with serving() as port, asking(port) as (reader, writer):
        (response,) = Response.begun
        await reader.readexactly(10)
        for _ in range(100):
            writer.write(MEGABYTE)
            await writer.drain()
        response.socket.write_chunk(b"still here")
        assert await reader.readexactly(15) == b"a\r\nstill here\r\n"


class Upgraded(asyncio.Protocol):
    """A protocol of WebSockets that the HTTP protocol hands the socket to."""

    def __init__(self, config: object, server_state: object, app_state: object, client: str = "") -> None:
        pass


class Wire(asyncio.Transport):
    """A transport that forgets everything."""

    protocol: asyncio.BaseProtocol | None = None

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = protocol

    def write(self, data: object) -> None:
        pass


async def test_what_spoke_http_is_gone_when_the_client_has_upgraded() -> None:
    """Without a garbage collection, which one such object for each client would make more frequent."""
    config = uvicorn.Config(app, lifespan="off", log_config=None, ws=Upgraded, interface="asgi3")
    config.load()
    transport = Wire()
    protocol = SocketHttpProtocol(config, ServerState(), {})
    gone = weakref.ref(protocol)
    gc.disable()
    try:
        protocol.connection_made(transport)
        protocol.data_received(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        assert isinstance(transport.protocol, Upgraded)
        del protocol
        assert gone() is None
    finally:
        gc.enable()
