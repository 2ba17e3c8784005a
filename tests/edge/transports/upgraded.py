"""A WebSocket on an edge in memory: the test plays the peer, byte by byte."""

from __future__ import annotations

import asyncio
import json
from typing import Any, cast

from services.edge.framing.wire import CLOSE, TEXT, frame, parse_close
from services.edge.transports.websocket import WebSocket
from tests.support.cluster import TestEdge
from tests.support.eventually import eventually
from tests.support.transport import FakeTransport, frames_in

HELLO = b'{"id":1,"connect":{}}'


def masked(opcode: int, payload: bytes) -> bytes:
    """A client's frame; a mask of zeros leaves the payload as it is."""
    whole = bytearray(frame(opcode, payload))
    head = len(whole) - len(payload)
    whole[1] |= 0x80
    return bytes(whole[:head]) + bytes(4) + bytes(whole[head:])


class Socket:
    """The server's end of one, with a peer that the test plays."""

    def __init__(
        self,
        edge: TestEdge,
        target: str = "/connection/websocket",
        client: str = "",
        by_proxy: bool = False,
        more: str = "",
        **headers: str,
    ) -> None:
        """`more` are further lines of the head."""
        self.edge = edge
        self.transport = FakeTransport()
        self.protocol = WebSocket(None, None, {"context": edge.context}, client=client, by_proxy=by_proxy)
        self.protocol.connection_made(cast("asyncio.Transport", self.transport))
        fields = {
            "host": "x",
            "upgrade": "websocket",
            "connection": "Upgrade",
            "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
            "sec-websocket-version": "13",
        } | {name.replace("_", "-"): value for name, value in headers.items()}
        head = [f"GET {target} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
        self.protocol.data_received("\r\n".join((*head, f"{more}\r\n")).encode("latin-1"))

    @property
    def response(self) -> str:
        return self.transport.frames[0].decode()

    @property
    def status(self) -> int:
        return int(self.response.split(" ")[1])

    @property
    def frames(self) -> list[tuple[int, bytes]]:
        return [each for data in self.transport.frames[1:] for each in frames_in(data)]

    @property
    def messages(self) -> list[dict[str, Any]]:
        return [json.loads(line) for opcode, body in self.frames if opcode == TEXT for line in body.split(b"\n")]

    @property
    def still_open(self) -> bool:
        return not self.transport.closing

    @property
    def close_frame(self) -> tuple[int, str]:
        (body,) = [body for opcode, body in self.frames if opcode == CLOSE]
        return parse_close(body)

    def send(self, payload: bytes, opcode: int = TEXT) -> None:
        self.protocol.data_received(masked(opcode, payload))

    async def connected(self) -> Socket:
        self.send(HELLO)
        await eventually(lambda: self.messages)
        return self
