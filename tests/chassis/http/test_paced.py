"""What a client sends over HTTP is parsed in parts, one in each turn of the event loop. Nothing here is timed."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest
import uvicorn
from uvicorn.server import ServerState

from services.chassis.http.limits import MAX_PIPELINED
from services.chassis.http.paced import BYTES_PER_TURN, PacedHttpProtocol
from tests.support.eventually import eventually

READ = 256_000
"""Bytes that uvloop reads at once."""
POST = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
UPGRADE = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nX: %b\r\n\r\n"


class Socket:
    """A server's transport, and what it wrote."""

    def __init__(self) -> None:
        self.written = b""
        self.reading = True
        self.closing = False
        self.ended = False

    def write(self, data: bytes) -> None:
        assert not self.ended, "nothing is written behind the end"
        self.written += data

    def write_eof(self) -> None:
        self.ended = True

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def is_closing(self) -> bool:
        return self.closing

    def close(self) -> None:
        self.closing = True

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default


class Server:
    """An application that answers with the size of the body that it has read."""

    def __init__(self) -> None:
        self.config = uvicorn.Config(self._app, lifespan="off", log_config=None, ws="none", interface="asgi3")
        self.config.load()
        self.state = ServerState()
        self.reads = asyncio.Event()
        self.reads.set()

    async def _app(self, scope: Any, receive: Any, send: Any) -> None:
        await self.reads.wait()
        size, more = 0, True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            size += len(message["body"])
            more = message["more_body"]
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"6")]})
        await send({"type": "http.response.body", "body": b"%6d" % size})


class Client:
    def __init__(self, server: Server) -> None:
        self.socket = Socket()
        self.parsed: list[int] = []
        client = self

        class Noted(PacedHttpProtocol):
            def parse(self, part: bytes) -> None:
                client.parsed.append(len(part))
                super().parse(part)

        self.protocol = Noted(server.config, server.state, {})
        self.protocol.connection_made(cast("asyncio.Transport", self.socket))

    @property
    def answers(self) -> list[bytes]:
        return [part[:3] for part in self.socket.written.split(b"HTTP/1.1 ")[1:]]


@pytest.fixture
async def server() -> Server:
    return Server()


async def test_a_request_is_one_part(server):
    client = Client(server)
    client.protocol.data_received(GET)
    await eventually(lambda: client.answers == [b"200"])
    assert client.parsed == [len(GET)] and client.socket.reading


async def test_a_flood_of_chunks_is_parsed_a_part_a_turn_and_not_read_meanwhile(server):
    flood, other = Client(server), Client(server)
    chunks = (READ - len(POST) - 5) // 6
    flood.protocol.data_received(POST + b"1\r\nx\r\n" * chunks + b"0\r\n\r\n")
    for turn in range(1, READ // BYTES_PER_TURN):
        assert flood.parsed == [BYTES_PER_TURN] * turn and not flood.socket.reading
        await asyncio.sleep(0)
    other.protocol.data_received(GET)
    await eventually(lambda: other.answers)
    await eventually(lambda: flood.answers == [b"200"])
    assert flood.socket.written.endswith(b"%6d" % chunks) and max(flood.parsed) == BYTES_PER_TURN
    assert flood.socket.reading


async def test_others_are_answered_in_between(server):
    flood, other = Client(server), Client(server)
    flood.protocol.data_received(POST + b"1\r\nx\r\n" * 40_000)
    other.protocol.data_received(GET)
    for _ in range(5):
        await asyncio.sleep(0)
    assert other.answers == [b"200"]
    assert not flood.socket.reading, "it is not through yet"


async def test_parts_wait_while_the_application_does_not_take_the_body(server):
    server.reads.clear()
    client = Client(server)
    body = b"%x\r\n%b\r\n" % (200_000, b"x" * 200_000)
    client.protocol.data_received(POST + body + b"0\r\n\r\n")
    for _ in range(50):
        await asyncio.sleep(0)
    assert sum(client.parsed) < 100_000 and not client.socket.reading
    server.reads.set()
    await eventually(lambda: client.answers == [b"200"])
    assert client.socket.written.endswith(b"200000")
    await eventually(lambda: client.socket.reading)


async def test_bytes_that_come_although_it_is_not_read_follow_behind(server):
    client = Client(server)
    client.protocol.data_received(POST + b"4000\r\n" + b"x" * 0x4000)
    client.protocol.data_received(b"\r\n0\r\n\r\n")
    await eventually(lambda: client.answers == [b"200"])
    assert client.socket.written.endswith(b" 16384")


async def test_requests_before_the_response_are_few(server, monkeypatch):
    client = Client(server)
    client.protocol.data_received(GET * (1 + MAX_PIPELINED))
    await eventually(lambda: client.answers == [b"200"] * (1 + MAX_PIPELINED))
    client, told = Client(server), list[str]()
    monkeypatch.setattr(type(client.protocol), "pipelined", staticmethod(told.append))
    client.protocol.data_received(GET * 9_000)
    assert client.answers == [b"429"] and client.socket.ended
    await eventually(lambda: client.socket.reading)
    assert client.answers == [b"429"] and told == ["/"], "and the rest is dropped"


async def test_what_waits_is_dropped_with_the_socket(server):
    client = Client(server)
    client.protocol.data_received(POST + b"1\r\nx\r\n" * 40_000)
    client.protocol.connection_lost(None)
    parsed = list(client.parsed)
    for _ in range(5):
        await asyncio.sleep(0)
    assert client.parsed == parsed


async def test_nothing_follows_an_upgrade_in_another_part_either(server):
    server.config.ws_protocol_class = cast(Any, asyncio.Protocol)
    client = Client(server)
    upgrade = UPGRADE % (b"x" * (BYTES_PER_TURN - len(UPGRADE) + 2))
    assert len(upgrade) == BYTES_PER_TURN
    client.protocol.data_received(upgrade + b"\x89\x80\0\0\0\0")
    assert client.answers == [b"400"] and b"nothing may follow" in client.socket.written
