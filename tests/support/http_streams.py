"""Clients on HTTP streams and SSE, byte by byte on a socket of their own, behind the face of `edges.WireClient`."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast
from urllib.parse import urlencode

import httpx
import msgspec
import websockets
from websockets.asyncio.client import ClientConnection
from websockets.frames import Close

from proto.codec_protobuf import PROTOBUF, encode_command
from proto.commands import Command
from proto.wire_protobuf import LENGTH_BITS, read_varint, varint
from tests.support.edges import ANSWER_S, WireClient, token
from tests.support.plain_http import http_client
from tests.support.processes import ServiceProcess

KINDS = ("http_stream", "http_stream protobuf", "sse")
"""Bidirectional streams. A second word is the encoding, JSON without."""

_decode_command = msgspec.json.Decoder(Command).decode


def frame_of(*commands: dict[str, Any], protobuf: bool = False) -> bytes:
    """Commands as the body of a request."""
    lines = [json.dumps(command).encode() for command in commands]
    if protobuf:
        return PROTOBUF.join(encode_command(_decode_command(line)) for line in lines)
    return b"\n".join(lines)


def emulation_body(node: str, session: str, data: bytes, protobuf: bool = False) -> bytes:
    """The body of a request to /emulation."""
    if not protobuf:
        return json.dumps({"session": session, "node": node, "data": data.decode()}).encode()
    fields = ((1, node.encode()), (2, session.encode()), (3, data))
    return b"".join(varint(number << 3 | 2) + varint(len(value)) + value for number, value in fields)


def type_of(protobuf: bool) -> dict[str, str]:
    return {"Content-Type": "application/octet-stream" if protobuf else "application/json"}


async def post(edge: ServiceProcess, path: str, body: bytes, headers: dict[str, str] | None = None) -> httpx.Response:
    """One POST whose answer ends."""
    async with http_client() as http:
        return await http.post(f"{edge.url}{path}", content=body, headers=headers, timeout=ANSWER_S)


async def emulate(edge: ServiceProcess, node: str, session: str, data: bytes, protobuf: bool = False) -> int:
    """The status of the answer to commands sent through `edge`."""
    body = emulation_body(node, session, data, protobuf)
    return (await post(edge, "/emulation", body, type_of(protobuf))).status_code


class HttpStream:
    """A response that has begun. Reads no further than it is asked to: an edge notices a client that does not read."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.status = 0
        self.headers: dict[str, str] = {}

    async def read_head(self) -> None:
        status, *lines = (await self._reader.readuntil(b"\r\n\r\n")).decode().splitlines()
        self.status = int(status.split()[1])
        self.headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines if line)}

    async def chunk(self) -> bytes:
        """The next part, b"" at the end, behind which nothing may come. Raises EOFError when it is cut off."""
        size = int(await self._reader.readuntil(b"\r\n"), 16)
        part = (await self._reader.readexactly(size + 2))[:-2]
        if not size:
            assert await self._reader.read() == b"", "the socket ends with the stream"
        return part

    async def body(self) -> bytes:
        """The whole answer, where it is not a stream."""
        return await self._reader.readexactly(int(self.headers["content-length"]))

    async def read_some(self) -> bytes:
        """Bytes as they come. Raises ConnectionResetError when the edge has dropped the socket."""
        data = await self._reader.read(65536)
        if not data:
            raise ConnectionResetError
        return data

    def say(self, data: bytes) -> None:
        """Sends more on the same socket."""
        self._writer.write(data)

    def close(self) -> None:
        self._writer.close()


@asynccontextmanager
async def request(
    edge: ServiceProcess,
    head: str,
    body: bytes = b"",
    headers: dict[str, str] | None = None,
    small: bool = False,
    behind: bytes = b"",
) -> AsyncIterator[HttpStream]:
    """Sends a request such as "POST /connection/http_stream", with the bytes `behind` it in the same write.

    `small`: the socket takes little that is not read.
    """
    sock = socket.socket()
    if small:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", edge.port))
    reader, writer = await asyncio.open_connection(sock=sock, limit=4096 if small else 65536)
    lines = {"Host": "x", "Content-Length": str(len(body)), **(headers or {})}
    said = "".join([f"{head} HTTP/1.1\r\n", *(f"{name}: {value}\r\n" for name, value in lines.items()), "\r\n"])
    writer.write(said.encode() + body + behind)
    stream = HttpStream(reader, writer)
    try:
        await asyncio.wait_for(stream.read_head(), ANSWER_S)
        yield stream
    finally:
        stream.close()


class _StreamSocket:
    """What `WireClient` takes for a WebSocket: frames in by the stream, frames out by `/emulation` at the edge `via`.

    The disconnect push and the end of the response behind it together look like a close frame.
    """

    def __init__(self, stream: HttpStream, kind: str, via: ServiceProcess) -> None:
        self.stream = stream
        self.via = via
        self.node = self.session = ""
        self._protobuf = kind.endswith("protobuf")
        self._is_event_stream = "sse" in kind
        self._begins = self._is_event_stream
        self._rest = b""
        self._close: Close | None = None

    async def recv(self) -> str | bytes:
        while True:
            try:
                part = await self.stream.chunk()
            except (EOFError, ConnectionError, ValueError):
                raise websockets.ConnectionClosedError(None, None) from None
            if not part:
                assert not self._rest, "the stream ends within a message"
                raise websockets.ConnectionClosedError(self._close, None)
            if self._begins:
                assert part.startswith(b":\n\n")
                part, self._begins = part[3:], False
            assert self._close is None or not part, "nothing follows the disconnect push"
            self._rest += part
            if frame := self._complete():
                self._note(frame)
                return frame if self._protobuf else frame.decode()

    def _complete(self) -> bytes:
        """The complete messages that have arrived, as one frame."""
        if self._protobuf:
            end = 0
            while end < len(self._rest):
                try:
                    length, start = read_varint(self._rest, end, LENGTH_BITS)
                except IndexError:
                    break
                if start + length > len(self._rest):
                    break
                end = start + length
            frame, self._rest = self._rest[:end], self._rest[end:]
            return frame
        mark = b"\n\n" if self._is_event_stream else b"\n"
        whole, found, self._rest = self._rest.rpartition(mark)
        if not self._is_event_stream or not found:
            return whole
        events = whole.split(mark)
        assert all(event.startswith(b"data: ") and b"\n" not in event for event in events), events
        return b"\n".join(event.removeprefix(b"data: ") for event in events)

    def _note(self, frame: bytes) -> None:
        if self._protobuf or b"disconnect" in frame:
            client = WireClient(cast("ClientConnection", self), "protobuf" if self._protobuf else "json")
            last = client._decode(frame if self._protobuf else frame.decode())[-1]
            last = last.get("push", last)
            if "disconnect" in last:
                self._close = Close(last["disconnect"]["code"], last["disconnect"]["reason"])

    async def send(self, frame: str | bytes) -> None:
        data = frame if isinstance(frame, bytes) else frame.encode()
        status = await emulate(self.via, self.node, self.session, data, self._protobuf)
        assert status == 204, f"/emulation answered {status}"


class StreamClient(WireClient):
    """A client whose stream is open. `stream` is the response; commands go to the edge `via`."""

    def __init__(self, stream: HttpStream, kind: str, via: ServiceProcess) -> None:
        self._on = _StreamSocket(stream, kind, via)
        super().__init__(cast("ClientConnection", self._on), "protobuf" if self._on._protobuf else "json")
        self.stream = stream

    @property
    def node(self) -> str:
        return self._on.node

    @property
    def session(self) -> str:
        return self._on.session

    def knows(self, result: dict[str, Any]) -> None:
        """Takes node and session from the result of connect."""
        self._on.node, self._on.session = result["node"], result["session"]

    def goes_by(self, via: ServiceProcess) -> None:
        """From now on its commands go to this edge."""
        self._on.via = via

    async def uni_push(self, channel: str) -> dict[str, Any]:
        """The next message of a unidirectional stream but for pings, which must be a push of `channel`."""
        while not (message := await self.message()):
            pass
        assert message["channel"] == channel, message
        return message


@asynccontextmanager
async def stream_client(
    edge: ServiceProcess, kind: str, first: bytes, via: ServiceProcess | None = None, small: bool = False
) -> AsyncIterator[StreamClient]:
    """A client that has opened a stream with its first words; nothing is read of it yet but the head."""
    transport, _, encoding = kind.partition(" ")
    path, body = f"/connection/{transport}", first
    if "sse" in transport:
        path, body = f"{path}?{urlencode({'cf_connect': first})}", b""
    method = "GET" if "sse" in transport else "POST"
    async with request(edge, f"{method} {path}", body, type_of(encoding == "protobuf"), small) as stream:
        assert stream.status == 200, (stream.status, await stream.body())
        yield StreamClient(stream, kind, via or edge)


@asynccontextmanager
async def streaming(
    edge: ServiceProcess, kind: str, user: str = "alice", via: ServiceProcess | None = None, small: bool = False
) -> AsyncIterator[StreamClient]:
    """A client that has connected on a bidirectional stream."""
    first = frame_of({"id": 1, "connect": {"token": token(user)}}, protobuf=kind.endswith("protobuf"))
    async with stream_client(edge, kind, first, via, small) as client:
        client.knows((await client.reply(1))["connect"])
        yield client
