"""The limits on requests, against a real uvicorn on a real socket."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from services.chassis.http.limits import HEAD_TIMEOUT_S, MAX_HEAD_BYTES, MAX_HEAD_FIELDS, BoundedHttpProtocol
from tests.support.eventually import eventually
from tests.support.plain_http import http_client


async def echo(request: Request) -> Response:
    return PlainTextResponse(await request.body() or request.url.query or request.url.path)


class Upgraded(asyncio.Protocol):
    """Accepts every upgrade."""

    def __init__(self, config: object, server_state: object, app_state: object) -> None:
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        assert self.transport is not None
        self.transport.write(b"HTTP/1.1 101 Hello\r\nContent-Length: 0\r\n\r\n")


async def held(request: Request) -> Response:
    """An answer that waits for the client to go."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
    return Response()


async def unread(request: Request) -> Response:
    """An answer that does not wait for the body."""
    return PlainTextResponse("enough")


async def gated(request: Request) -> Response:
    """An answer that waits for the test."""
    await request.app.state.gate.wait()
    return PlainTextResponse("at last")


async def fields(request: Request) -> Response:
    """The names of the header's fields, once the body has been read."""
    await request.body()
    return PlainTextResponse(b" ".join([name for name, _ in request.scope["headers"]]).decode())


@asynccontextmanager
async def serving(
    gate: asyncio.Event | None = None, head_timeout_s: float = HEAD_TIMEOUT_S, max_head_bytes: int = MAX_HEAD_BYTES
) -> AsyncIterator[int]:
    """The port of a server with our limits."""

    class Protocol(BoundedHttpProtocol):
        pass

    Protocol.head_timeout_s = head_timeout_s
    Protocol.max_head_bytes = max_head_bytes
    routes = [Route("/held", held), Route("/gated", gated)]
    routes += [Route("/unread", unread, methods=["POST"]), Route("/fields", fields, methods=["POST"])]
    app = Starlette(routes=[*routes, Route("/{path:path}", echo, methods=["GET", "POST"])])
    app.state.gate = gate
    config = uvicorn.Config(
        app,
        host="127.0.0.1",
        port=0,
        http=Protocol,
        ws=Upgraded,
        lifespan="off",
        log_config=None,
    )
    server = uvicorn.Server(config)
    running = asyncio.create_task(server._serve())  # serve() would take over the signals
    await eventually(lambda: server.started)
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        await running


class Caller:
    """A socket to the server: writes bytes and reads answers."""

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
        with contextlib.suppress(ConnectionError):  # the server ends a connection while its client still talks
            await writer.wait_closed()


def get(path: str, *headers: bytes) -> bytes:
    return b"\r\n".join([b"GET " + path.encode() + b" HTTP/1.1", b"Host: x", *headers, b"", b""])


async def test_ordinary_requests_are_answered() -> None:
    async with serving() as port, http_client(base_url=f"http://127.0.0.1:{port}") as client:
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


async def test_a_service_may_take_larger_heads_and_addresses_of_any_length() -> None:
    query = b"q=" + b"x" * 100_000
    async with serving(max_head_bytes=110_000) as port, calling(port) as caller:
        await caller.says(b"GET /?" + query + b" HTTP/1.1\r\nHost: x\r\n\r\n")
        assert await caller.hears() == (200, query)
        await caller.says(get("/", b"Cookie: " + b"c" * 110_000))
        assert (await caller.hears())[0] == 431


async def test_an_empty_line_in_two_reads_ends_the_head() -> None:
    async with serving() as port, calling(port) as caller:
        body = b"b" * MAX_HEAD_BYTES
        await caller.says(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r" % len(body))
        for _ in range(3):
            await asyncio.sleep(0)  # a turn of the loop, in which the server reads
        await caller.says(b"\n" + body)
        assert await caller.hears() == (200, body)


async def test_a_head_that_never_ends_is_refused() -> None:
    async with serving() as port, calling(port) as caller:
        await caller.says(b"GET / HTTP/1.1\r\n")
        for _ in range(MAX_HEAD_BYTES // 100):
            await caller.says(b"X: " + b"y" * 100 + b"\r\n")
        assert (await caller.hears())[0] == 431
        await caller.hears_the_end()


@pytest.mark.parametrize("sent", [b"", b"GET / HT", get("/")[:-2]])
async def test_an_unfinished_head_is_refused_in_time(sent: bytes) -> None:
    async with serving(head_timeout_s=0.05) as port, calling(port) as caller:
        await caller.says(sent)
        assert (await caller.hears())[0] == 408
        await caller.hears_the_end()


async def test_a_byte_now_and_then_gives_no_more_time() -> None:
    async with serving(head_timeout_s=0.1) as port, calling(port) as caller:
        answer = asyncio.ensure_future(caller.hears())
        while not answer.done():
            await caller.says(b"\r\n")  # may precede a request
            await asyncio.wait([answer], timeout=0.01)
        assert (await answer)[0] == 408


async def test_all_heads_of_a_server_are_watched_by_one_timer(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = asyncio.get_running_loop()
    call_later, timers, waiting = loop.call_later, list[asyncio.TimerHandle](), set[int]()

    def counted(delay: float, callback: Callable[..., object], *arguments: object) -> asyncio.TimerHandle:
        timer = call_later(delay, callback, *arguments)
        if "Deadlines" in repr(callback):
            timers.append(timer)
            waiting.add(sum(one.when() > loop.time() for one in timers))
        return timer

    monkeypatch.setattr(loop, "call_later", counted)
    async with serving(head_timeout_s=0.05) as port, AsyncExitStack() as stack:
        callers = [await stack.enter_async_context(calling(port)) for _ in range(20)]
        for caller in callers:
            await caller.says(b"GET / HT")
        for caller in callers:
            assert (await caller.hears())[0] == 408
        assert waiting == {1}
        assert (await (await stack.enter_async_context(calling(port))).hears())[0] == 408, "it goes on after a pause"


async def test_a_later_request_has_its_own_time() -> None:
    async with serving(head_timeout_s=0.05) as port, calling(port) as caller:
        await caller.says(get("/first"))
        assert await caller.hears() == (200, b"/first")
        await caller.says(b"GET /sec")
        assert (await caller.hears())[0] == 408
        await caller.hears_the_end()


async def test_a_body_may_take_its_time() -> None:
    async with serving(head_timeout_s=0.05) as port, calling(port) as caller, calling(port) as clock:
        await caller.says(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\na")
        assert (await clock.hears())[0] == 408  # the time of a head is over
        await caller.says(b"b")
        assert await caller.hears() == (200, b"ab")


UNREAD = b"POST /unread HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\na"


async def test_the_rest_of_a_body_that_is_answered_may_not_take_its_time() -> None:
    long = UNREAD.replace(b"4", b"100000000")
    async with serving(head_timeout_s=0.1) as port, calling(port) as caller:
        await caller.says(long)
        assert await caller.hears() == (200, b"enough")
        end = asyncio.ensure_future(caller.hears_the_end())
        with contextlib.suppress(ConnectionError):
            while not end.done():
                await caller.says(b"x")  # each byte stops uvicorn's own timer
                await asyncio.wait([end], timeout=0.01)
        with contextlib.suppress(ConnectionError):
            await end


async def test_a_request_that_follows_it_in_time_is_answered() -> None:
    async with serving() as port, calling(port) as caller:
        await caller.says(UNREAD)
        assert await caller.hears() == (200, b"enough")
        await caller.says(b"bcd" + get("/next"))
        assert await caller.hears() == (200, b"/next")
        await caller.says(UNREAD + b"bcd" + get("/last"))
        assert await caller.hears() == (200, b"enough")
        assert await caller.hears() == (200, b"/last")


async def test_half_a_head_behind_them_has_its_time() -> None:
    async with serving(head_timeout_s=0.05) as port, calling(port) as caller:
        await caller.says(UNREAD + b"bcd" + get("/last") + b"GET /")
        assert [await caller.hears() for _ in range(2)] == [(200, b"enough"), (200, b"/last")]
        assert (await caller.hears())[0] == 408


async def test_when_nothing_follows_the_connection_ends() -> None:
    async with serving(head_timeout_s=0.1) as port, calling(port) as caller:
        await caller.says(UNREAD)
        assert await caller.hears() == (200, b"enough")
        await caller.says(b"bcd")
        await caller.hears_the_end()


async def test_the_time_of_a_head_begins_when_the_request_before_it_is_answered() -> None:
    gate = asyncio.Event()
    async with serving(gate, head_timeout_s=0.05) as port, calling(port) as caller, calling(port) as clock:
        await caller.says(get("/gated") + b"GET /ne")
        assert (await clock.hears())[0] == 408  # the time of a head is over
        gate.set()
        assert await caller.hears() == (200, b"at last")
        assert (await caller.hears())[0] == 408


async def test_trailers_are_dropped() -> None:
    head = b"POST /fields HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    trailers = b"".join(b"X-%d: y\r\n" % number for number in range(10 * MAX_HEAD_FIELDS))
    async with serving() as port, calling(port) as caller:
        for _ in range(2):
            await caller.says(head + b"1\r\na\r\n0\r\n" + trailers + b"\r\n")
            assert await caller.hears() == (200, b"host transfer-encoding")


async def test_empty_lines_between_requests_give_no_time() -> None:
    async with serving(head_timeout_s=0.1) as port, calling(port) as caller:
        await caller.says(get("/first"))
        assert await caller.hears() == (200, b"/first")
        await caller.says(b"\r\n")
        assert (await caller.hears())[0] == 408
        await caller.hears_the_end()


async def test_a_refusal_is_no_error_of_ours(caplog: pytest.LogCaptureFixture) -> None:
    async with serving() as port, calling(port) as caller:
        with caplog.at_level(logging.WARNING):
            await caller.says(b"x" * (MAX_HEAD_BYTES + 1))
            assert (await caller.hears())[0] in (400, 431)
            await caller.hears_the_end()
        assert not [record for record in caplog.records if record.exc_info]


async def test_a_head_has_a_bounded_number_of_fields() -> None:
    fields = [f"X-{number}: y".encode() for number in range(MAX_HEAD_FIELDS)]
    async with serving() as port, calling(port) as caller, calling(port) as other:
        await caller.says(get("/", *fields[:-1]))
        assert (await caller.hears())[0] == 200
        await other.says(get("/", *fields))
        assert (await other.hears())[0] == 431
        await other.hears_the_end()


UPGRADE = get("/", b"Upgrade: websocket", b"Connection: Upgrade")


class TestUpgrades:
    @pytest.mark.parametrize(
        "head",
        [
            UPGRADE,
            get("/", b"Upgrade: WebSocket", b"Connection: keep-alive, Upgrade"),
            get("/", b"Connection: Upgrade", b"Upgrade: websocket", b"Connection: keep-alive"),
        ],
    )
    async def test_they_are_handed_on(self, head: bytes) -> None:
        async with serving() as port, calling(port) as caller:
            await caller.says(get("/first"))
            assert (await caller.hears())[0] == 200
            await caller.says(head)
            assert (await caller.hears())[0] == 101

    async def test_in_pieces_too(self) -> None:
        async with serving() as port, calling(port) as caller:
            for byte in UPGRADE:
                await caller.says(bytes((byte,)))
            assert (await caller.hears())[0] == 101

    async def test_they_are_no_longer_timed(self) -> None:
        async with serving(head_timeout_s=0.05) as port, calling(port) as caller, calling(port) as clock:
            await caller.says(UPGRADE)
            assert (await caller.hears())[0] == 101
            assert (await clock.hears())[0] == 408
            await caller.says(b"still here")
            assert (await caller.hears())[0] == 101

    async def test_other_upgrades_are_ordinary_requests(self) -> None:
        async with serving() as port, calling(port) as caller:
            await caller.says(get("/h2", b"Upgrade: h2c", b"Connection: Upgrade"))
            assert await caller.hears() == (200, b"/h2")

    @pytest.mark.parametrize(
        ("data", "why"),
        [
            (UPGRADE.replace(b"HTTP/1.1", b"HTTP/1.0"), b"HTTP/1.1"),
            (UPGRADE + b"\x81\x80....", b"nothing may follow"),  # uvicorn alone would lose it
            (get("/held") + UPGRADE, b"has to wait"),
        ],
    )
    async def test_refused_with_a_reason(self, data: bytes, why: bytes) -> None:
        async with serving() as port, calling(port) as caller:
            await caller.says(data)
            status, body = await caller.hears()
            assert status == 400 and why in body
            await caller.hears_the_end()
