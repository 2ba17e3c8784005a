"""The limits on request heads, against a real uvicorn on a real socket."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from services.chassis import http_limits
from services.chassis.http_limits import MAX_HEAD_BYTES, BoundedHttpProtocol
from tests.support.eventually import eventually


async def echo(request: Request) -> Response:
    return PlainTextResponse(await request.body() or request.url.path)


@asynccontextmanager
async def serving() -> AsyncIterator[int]:
    """The port of a server with our limits."""
    app = Starlette(routes=[Route("/{path:path}", echo, methods=["GET", "POST"])])
    config = uvicorn.Config(app, host="127.0.0.1", port=0, http=BoundedHttpProtocol, lifespan="off", log_config=None)
    server = uvicorn.Server(config)
    running = asyncio.create_task(server._serve())  # serve() would take over the signals
    await eventually(lambda: server.started)
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        await running


class Caller:
    """A socket to the server: says bytes, reads answers."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def says(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def hears(self) -> tuple[int, bytes]:
        """Status and body of the next response."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
        return int(head.split(b" ")[1]), await self.reader.readexactly(length)

    async def hears_the_end(self) -> None:
        assert await self.reader.read() == b""


@asynccontextmanager
async def calling(port: int) -> AsyncIterator[Caller]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield Caller(reader, writer)
    finally:
        writer.close()
        await writer.wait_closed()


def get(path: str, *headers: bytes) -> bytes:
    return b"\r\n".join([b"GET " + path.encode() + b" HTTP/1.1", b"Host: x", *headers, b"", b""])


async def test_ordinary_requests_are_answered() -> None:
    async with serving() as port, httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
        assert (await client.get("/a")).text == "/a"
        assert (await client.post("/b", content=b"x" * 1_000_000)).text == "x" * 1_000_000


async def test_one_connection_serves_many_requests() -> None:
    async with serving() as port, calling(port) as caller:
        for number in range(50):  # far more than one head's worth of bytes in the end
            await caller.says(get(f"/{number}", b"Cookie: " + b"c" * 1000))
            assert await caller.hears() == (200, f"/{number}".encode())


async def test_requests_may_be_pipelined() -> None:
    async with serving() as port, calling(port) as caller:
        await caller.says(b"".join(get(f"/{number}") for number in range(5)))
        for number in range(5):
            assert await caller.hears() == (200, f"/{number}".encode())


async def test_a_head_may_come_in_pieces() -> None:
    async with serving() as port, calling(port) as caller:
        for byte in get("/slow"):
            await caller.says(bytes((byte,)))
        assert await caller.hears() == (200, b"/slow")


async def test_a_large_head_is_taken() -> None:
    async with serving() as port, calling(port) as caller:
        await caller.says(get("/", b"Cookie: " + b"c" * (MAX_HEAD_BYTES - 100)))
        assert (await caller.hears())[0] == 200


async def test_a_larger_one_is_refused() -> None:
    async with serving() as port, calling(port) as caller:
        await caller.says(get("/", b"Cookie: " + b"c" * (MAX_HEAD_BYTES + 1)))
        assert (await caller.hears())[0] == 431
        await caller.hears_the_end()


async def test_so_is_one_that_never_ends() -> None:
    async with serving() as port, calling(port) as caller:
        await caller.says(b"GET / HTTP/1.1\r\n")
        for _ in range(MAX_HEAD_BYTES // 100):
            await caller.says(b"X: " + b"y" * 100 + b"\r\n")
        assert (await caller.hears())[0] == 431
        await caller.hears_the_end()


@pytest.mark.parametrize("sent", [b"", b"GET / HT", get("/")[:-2]])
async def test_who_does_not_finish_is_refused_in_time(monkeypatch: pytest.MonkeyPatch, sent: bytes) -> None:
    monkeypatch.setattr(http_limits, "HEAD_TIMEOUT_S", 0.05)
    async with serving() as port, calling(port) as caller:
        await caller.says(sent)
        assert (await caller.hears())[0] == 408
        await caller.hears_the_end()


async def test_a_later_request_has_its_own_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_limits, "HEAD_TIMEOUT_S", 0.05)
    async with serving() as port, calling(port) as caller:
        await caller.says(get("/first"))
        assert await caller.hears() == (200, b"/first")
        await caller.says(b"GET /sec")
        assert (await caller.hears())[0] == 408
        await caller.hears_the_end()


async def test_a_body_may_take_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_limits, "HEAD_TIMEOUT_S", 0.05)
    async with serving() as port, calling(port) as caller, calling(port) as clock:
        await caller.says(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\na")
        assert (await clock.hears())[0] == 408  # the time of a head is over
        await caller.says(b"b")
        assert await caller.hears() == (200, b"ab")


async def test_a_refusal_is_no_error_of_ours(caplog: pytest.LogCaptureFixture) -> None:
    async with serving() as port, calling(port) as caller:
        with caplog.at_level(logging.WARNING):
            await caller.says(b"x" * (MAX_HEAD_BYTES + 1))
            assert (await caller.hears())[0] in (400, 431)
            await caller.hears_the_end()
        assert not [record for record in caplog.records if record.exc_info]
