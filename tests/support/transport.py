"""A transport that keeps the frames of a connection, and decodes them to messages."""

from __future__ import annotations

import json
from typing import Any

from msgspec import Raw
from msgspec.structs import replace

from proto.codec import payload
from proto.codec_json import JSON
from proto.codec_protobuf import PROTOBUF, decode_replies
from proto.replies import Reply
from services.edge.connection.connection import Connection
from services.edge.framing import formats
from services.edge.framing.formats import Format
from services.edge.framing.wire import BINARY, CLOSE, TEXT, parse_close


def frames_in(data: bytes) -> list[tuple[int, bytes]]:
    """The WebSocket frames that a server wrote, as (opcode, payload)."""
    found: list[tuple[int, bytes]] = []
    while data:
        size, head = data[1], 2
        assert size < 128, "a server does not mask"
        if size == 126:
            size, head = int.from_bytes(data[2:4], "big"), 4
        elif size == 127:
            size, head = int.from_bytes(data[2:10], "big"), 10
        assert len(data) >= head + size, "half a frame"
        found.append((data[0] & 0x0F, data[head : head + size]))
        data = data[head + size :]
    return found


def messages_in(data: bytes) -> list[dict[str, Any]]:
    """The replies in WebSocket frames, as JSON has them."""
    found: list[dict[str, Any]] = []
    for opcode, body in frames_in(data):
        if opcode == TEXT:
            found += [json.loads(line) for line in body.split(b"\n")]
        elif opcode == BINARY:
            found += map(_as_json, decode_replies(body))
    return found


def _as_json(reply: Reply) -> dict[str, Any]:
    """As JSON has it. A payload of a push that is not JSON is {"hex": ...}."""
    push = reply.push
    if push is not None and push.pub is not None:
        try:
            payload(bytes(push.pub.data))
        except ValueError:
            shown = Raw(json.dumps({"hex": bytes(push.pub.data).hex()}).encode())
            reply = replace(reply, push=replace(push, pub=replace(push.pub, data=shown)))
    decoded: dict[str, Any] = json.loads(JSON.encode_reply(reply))
    return decoded


def pushes_in(format: Format, data: bytes) -> list[dict[str, Any]]:
    """The pushes of one fan-out, in any format."""
    if format in (formats.WEBSOCKET_JSON, formats.WEBSOCKET_PROTOBUF):
        return [message["push"] for message in messages_in(data)]
    if format is formats.UNI_WEBSOCKET:
        return messages_in(data)
    if format.codec is PROTOBUF:
        return [_as_json(reply)["push"] for reply in decode_replies(data)]
    lines = [line.removeprefix(b"data: ") for line in data.split(b"\n") if line]
    return [json.loads(line) if format.unidirectional else json.loads(line)["push"] for line in lines]


class FakeTransport:
    """Takes writes. After `stall` it tells the connection to pause at the next write, as a full socket does, after
    `stall_after` at one of the next ones.
    """

    def __init__(self) -> None:
        self.connection: Connection | None = None
        self.frames: list[bytes] = []
        self.reading = True
        self.stall = False
        self.stall_after = 0
        self.waiting = 0  # bytes that the client has not taken
        self.closing = False
        self.aborted = False
        self.ended = False  # no more is written, but still read

    def write_eof(self) -> None:
        self.ended = True

    def write(self, data: bytes) -> None:
        assert not self.ended
        self.frames.append(data)
        if self.stall_after:
            self.stall_after -= 1
            self.stall = not self.stall_after
        if self.stall and self.connection is not None:
            self.stall = False
            self.connection.pause_writing()

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def get_write_buffer_size(self) -> int:
        return self.waiting

    def is_closing(self) -> bool:
        return self.closing

    def close(self) -> None:
        self.closing = True

    def abort(self) -> None:
        self.closing = self.aborted = True

    @property
    def messages(self) -> list[dict[str, Any]]:
        """All messages, in order."""
        return [message for data in self.frames for message in messages_in(data)]

    @property
    def close_frame(self) -> tuple[int, str] | None:
        """The code and reason of the close frame."""
        closes = [body for data in self.frames for opcode, body in frames_in(data) if opcode == CLOSE]
        assert len(closes) < 2
        return parse_close(closes[0]) if closes else None
