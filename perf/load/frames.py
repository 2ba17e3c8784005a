"""The client's half of RFC 6455, as little of it as a load generator needs. Pure bytes.

Frames are masked, as the RFC requires of a client, with a key of zeros: the server has to unmask, but the generator
need not mask. Masking protects against hostile intermediaries, which loopback does not have.
"""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha1

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA

MAX_FRAME_BYTES = 1024 * 1024
"""What the strictest SDKs accept in one frame; a larger frame ends the connection with an error."""

MAX_HEAD_BYTES = 16 * 1024

_KEY = b64encode(b"fairlead perf 16")
_ACCEPT = b64encode(sha1(_KEY + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())


class BadFrame(Exception):
    """The server broke the WebSocket protocol, or uses a part of it that perf does not speak; the text says which."""


def upgrade_request(authority: str, path: str, headers: str = "") -> bytes:
    """The opening handshake. `authority` is host:port, `headers` further lines, each ended by CRLF.

    The key is always the same, so that there is only one answer to compare with.
    """
    return (
        f"GET {path} HTTP/1.1\r\nHost: {authority}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {_KEY.decode()}\r\n{headers}\r\n"
    ).encode("ascii")


def upgrade_status(head: bytes) -> int:
    """The HTTP status of a response head; 101 only for a correct handshake. Raises `BadFrame`."""
    line, _, fields = head.partition(b"\r\n")
    words = line.split(b" ", 2)
    if len(words) < 2 or not words[0].startswith(b"HTTP/1.") or not words[1].isdigit():
        raise BadFrame("not an HTTP response")
    status = int(words[1])
    if status == 101:
        accepts = [
            value.strip()
            for name, _, value in (field.partition(b":") for field in fields.split(b"\r\n"))
            if name.strip().lower() == b"sec-websocket-accept"
        ]
        if accepts != [_ACCEPT]:
            raise BadFrame("wrong Sec-WebSocket-Accept")
    return status


def frame(opcode: int, payload: bytes) -> bytes:
    """One whole masked frame."""
    size = len(payload)
    if size < 126:
        head = bytes((0x80 | opcode, 0x80 | size))
    elif size < 65536:
        head = bytes((0x80 | opcode, 0x80 | 126)) + size.to_bytes(2, "big")
    else:
        head = bytes((0x80 | opcode, 0x80 | 127)) + size.to_bytes(8, "big")
    return head + b"\0\0\0\0" + payload


def wire_size(payload_size: int) -> int:
    """Bytes of a server's frame with a payload of that size."""
    return payload_size + (2 if payload_size < 126 else 4 if payload_size < 65536 else 10)


def close_frame(code: int) -> bytes:
    return frame(CLOSE, code.to_bytes(2, "big"))


def close_status(payload: bytes) -> tuple[int, str]:
    """Code and reason of a close frame; (1005, "") for one without either, as in the RFC."""
    if len(payload) < 2:
        return 1005, ""
    return int.from_bytes(payload[:2], "big"), payload[2:].decode(errors="replace")


def take_frames(data: bytes) -> tuple[list[tuple[int, bytes]], bytes]:
    """The complete frames at the front of `data` as (opcode, payload), and the bytes of the incomplete one after them.

    Raises `BadFrame`, also for a fragmented message: no server that perf measures sends them.
    """
    found = []
    at, end = 0, len(data)
    while end - at >= 2:
        first, size = data[at], data[at + 1]
        if not first & 0x80 or first & 0x0F == CONTINUATION:
            raise BadFrame("a fragmented message")
        if first & 0x70 or size & 0x80:
            raise BadFrame("reserved bits or a mask in a server's frame")
        body = at + 2
        if size >= 126:
            wide = 2 if size == 126 else 8
            if end - body < wide:
                break
            size = int.from_bytes(data[body : body + wide], "big")
            body += wide
        if size > MAX_FRAME_BYTES:
            raise BadFrame(f"a frame of {size} bytes, at most {MAX_FRAME_BYTES} are taken")
        if end - body < size:
            break
        found.append((first & 0x0F, data[body : body + size]))
        at = body + size
    return found, data[at:]
