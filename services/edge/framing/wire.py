"""RFC 6455 without I/O: the server's side of the opening handshake, frames in, frames out.

`Wire.feed` takes the bytes of the socket and gives back what they mean; it raises `WireError` with the close code when
the peer breaks the protocol. Framing of outgoing messages is a function of the payload alone, so that one frame can be
shared by all receivers. No compression is negotiated.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import struct
from collections.abc import Iterator
from typing import Final, NamedTuple
from urllib.parse import parse_qsl

try:
    from websockets.speedups import apply_mask  # in C
except ImportError:  # a platform without the wheel
    from websockets.utils import apply_mask

from proto import codes
from proto.codes import CloseCode

TEXT: Final = 0x1
BINARY: Final = 0x2
CLOSE: Final = 0x8
PING: Final = 0x9
PONG: Final = 0xA
_CONTINUATION: Final = 0x0
_FIN: Final = 0x80
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, 1.3
MAX_REASON_BYTES: Final = 123

NO_STATUS: Final = 1005  # RFC 6455, 7.1.5: a close frame without a code
ABNORMAL: Final = 1006  # the connection ended without a close frame

_FORBIDDEN_CODES = frozenset({1004, NO_STATUS, ABNORMAL, 1015})


class WireError(Exception):
    """The peer broke the protocol; the connection is to be closed with `close`."""

    def __init__(self, close: CloseCode, detail: str) -> None:
        super().__init__(detail)
        self.close = close


class HandshakeRefused(Exception):
    """The upgrade is not accepted; the answer is an HTTP response with this status."""

    def __init__(self, status: str, detail: str, headers: str = "") -> None:
        super().__init__(detail)
        body = f"{detail}\n"
        self.response = (
            f"HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {len(body.encode())}\r\n"
            f"Connection: close\r\n{headers}\r\n{body}"
        ).encode()


class Upgrade(NamedTuple):
    """A well-formed request to open a WebSocket. Header names are lower case, values of repeated ones joined."""

    path: str
    query: dict[str, str]
    headers: dict[str, str]

    @property
    def subprotocols(self) -> list[str]:
        offered = self.headers.get("sec-websocket-protocol", "")
        return [name.strip() for name in offered.split(",") if name.strip()]


def parse_upgrade(head: bytes) -> Upgrade:
    """The upgrade request in a complete HTTP request head. Raises `HandshakeRefused` (RFC 6455, 4.2.1)."""
    request_line, _, rest = head.decode("latin-1").partition("\r\n")
    method, _, target = request_line.partition(" ")
    target = target.partition(" ")[0]
    headers: dict[str, str] = {}
    for line in rest.split("\r\n"):
        name, colon, value = line.partition(":")
        if colon:
            key = name.lower()
            headers[key] = f"{headers[key]}, {value.strip()}" if key in headers else value.strip()
    if method != "GET":
        raise HandshakeRefused("405 Method Not Allowed", "a WebSocket is opened with GET", "Allow: GET\r\n")
    if headers.get("sec-websocket-version") != "13":
        raise HandshakeRefused(
            "426 Upgrade Required", "WebSocket version 13 is spoken here", "Sec-WebSocket-Version: 13\r\n"
        )
    try:
        key_bytes = base64.b64decode(headers.get("sec-websocket-key", ""), validate=True)
    except (binascii.Error, ValueError):
        key_bytes = b""
    if len(key_bytes) != 16:
        raise HandshakeRefused("400 Bad Request", "Sec-WebSocket-Key must be 16 bytes in base64")
    path, _, query = target.partition("?")
    try:
        pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=64)
    except ValueError:
        raise HandshakeRefused("400 Bad Request", "too many query parameters") from None
    return Upgrade(path, dict(pairs), headers)


def accept_response(upgrade: Upgrade, subprotocol: str | None) -> bytes:
    """The 101 response; `subprotocol` is the one chosen of those offered, None for none."""
    digest = hashlib.sha1(upgrade.headers["sec-websocket-key"].encode() + _GUID, usedforsecurity=False).digest()
    extra = f"Sec-WebSocket-Protocol: {subprotocol}\r\n" if subprotocol else ""
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
        + base64.b64encode(digest)
        + f"\r\n{extra}\r\n".encode()
    )


def frame(opcode: int, payload: bytes) -> bytes:
    """A whole unmasked frame, as a server sends it."""
    size = len(payload)
    if size < 126:
        return bytes((_FIN | opcode, size)) + payload
    if size < 65536:
        return struct.pack("!BBH", _FIN | opcode, 126, size) + payload
    return struct.pack("!BBQ", _FIN | opcode, 127, size) + payload


def close_frame(code: int, reason: str) -> bytes:
    """A close frame; a reason past 123 bytes of UTF-8 is cut between characters."""
    text = reason.encode()[:MAX_REASON_BYTES].decode(errors="ignore").encode()
    return frame(CLOSE, struct.pack("!H", code) + text)


def parse_close(payload: bytes) -> tuple[int, str]:
    """Code and reason of a received close frame, (1005, "") when it has none. Raises `WireError`."""
    if not payload:
        return NO_STATUS, ""
    if len(payload) == 1:
        raise WireError(codes.WIRE_PROTOCOL_ERROR, "a close code has two bytes")
    code = int.from_bytes(payload[:2], "big")
    try:
        reason = payload[2:].decode()
    except UnicodeDecodeError:
        raise WireError(codes.WIRE_BAD_UTF8, "the close reason is not UTF-8") from None
    if not (1000 <= code < 1016 or 3000 <= code < 5000) or code in _FORBIDDEN_CODES:
        raise WireError(codes.WIRE_PROTOCOL_ERROR, f"close code {code} must not be sent")
    return code, reason


class Wire:
    """The receiving half of one connection. Holds at most one message (`max_message` bytes) plus one frame head."""

    __slots__ = ("_buffer", "_closed", "_message", "_message_opcode", "max_message")

    def __init__(self, max_message: int) -> None:
        self.max_message = max_message
        self._buffer = b""
        self._message: bytearray | None = None  # fragments so far, None between messages; no list: they may be empty
        self._message_opcode = 0
        self._closed = False

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """What `data` completes, in order: (TEXT or BINARY, message), (PING, PONG or CLOSE, payload).

        To be iterated to its end before the next call. Raises `WireError` after what precedes the error; nothing that
        follows an error or a close frame is looked at (RFC 6455, 5.5.1 and 7.1.7).
        """
        if self._closed:
            return
        if self._buffer:
            data = self._buffer + data
        position, end = 0, len(data)
        while end - position >= 2:
            first, second = data[position], data[position + 1]
            size = second & 0x7F
            head = 2
            if size == 126:
                head = 4
            elif size == 127:
                head = 10
            if end - position < head:
                self._check_head(first, second, 0)
                break
            if size == 126:
                size = int.from_bytes(data[position + 2 : position + 4], "big")
            elif size == 127:
                size = int.from_bytes(data[position + 2 : position + 10], "big")
            self._check_head(first, second, size)
            start = position + head + 4
            if end - start < size:
                break
            payload = data[start : start + size]
            if size:
                payload = apply_mask(payload, data[start - 4 : start])
            position = start + size
            opcode = first & 0x0F
            if opcode >= CLOSE:
                self._closed = opcode == CLOSE
                yield opcode, payload
                if self._closed:
                    return
            elif first & _FIN and opcode:
                yield opcode, self._checked(opcode, payload)
            elif opcode:
                self._message, self._message_opcode = bytearray(payload), opcode
            else:
                assert self._message is not None  # or the head was refused
                self._message += payload
                if first & _FIN:
                    message, self._message = bytes(self._message), None
                    yield self._message_opcode, self._checked(self._message_opcode, message)
        self._buffer = data[position:] if position else data

    def _check_head(self, first: int, second: int, size: int) -> None:
        """Refuses a frame as soon as its head shows that it is wrong, before its payload is waited for."""
        opcode = first & 0x0F
        if first & 0x70:
            raise self._broken(codes.WIRE_PROTOCOL_ERROR, "reserved bits are set")
        if not second & 0x80:
            raise self._broken(codes.WIRE_PROTOCOL_ERROR, "a client's frame is not masked")
        if opcode in (TEXT, BINARY):
            if self._message is not None:
                raise self._broken(codes.WIRE_PROTOCOL_ERROR, "a new message inside of a fragmented one")
        elif opcode == _CONTINUATION:
            if self._message is None:
                raise self._broken(codes.WIRE_PROTOCOL_ERROR, "a continuation of no message")
        elif opcode in (CLOSE, PING, PONG):
            if not first & _FIN or second & 0x7F > 125:
                raise self._broken(codes.WIRE_PROTOCOL_ERROR, "a control frame is fragmented or too long")
        else:
            raise self._broken(codes.WIRE_PROTOCOL_ERROR, f"opcode {opcode} is reserved")
        if opcode < CLOSE and size + len(self._message or b"") > self.max_message:
            raise self._broken(codes.WIRE_TOO_BIG, f"a message is larger than {self.max_message} bytes")

    def _checked(self, opcode: int, message: bytes) -> bytes:
        if opcode == TEXT and not message.isascii():
            try:
                message.decode()
            except UnicodeDecodeError:
                raise self._broken(codes.WIRE_BAD_UTF8, "a text message is not UTF-8") from None
        return message

    def _broken(self, close: CloseCode, detail: str) -> WireError:
        self._closed = True
        return WireError(close, detail)
