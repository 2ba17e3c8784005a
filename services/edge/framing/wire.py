"""RFC 6455 without I/O: parses frames, and makes them. The opening handshake is in `handshake`.

`Wire.feed` takes bytes from the socket and returns the messages in them; it raises `WireError` with the close code when
the peer breaks the protocol. The framing of outgoing messages is a function of the payload alone, so that one frame can
be shared by all receivers.
"""

from __future__ import annotations

import codecs
import struct
from collections.abc import Iterator
from typing import Final

try:
    from websockets.speedups import apply_mask  # in C
except ImportError:  # a platform without the wheel
    from websockets.utils import apply_mask

from proto import codes
from proto.codes import CloseCode
from services.edge.framing.deflate import InflateError, inflate

TEXT: Final = 0x1
BINARY: Final = 0x2
CLOSE: Final = 0x8
PING: Final = 0x9
PONG: Final = 0xA
COMPRESSED: Final = 0x40
"""RSV1, added to the opcode of a message's first frame (RFC 7692, 6)."""

PART: Final = 0x0
"""Not an opcode on the wire: many fragments of a message have arrived, but not its end. The caller may end its turn."""

_CONTINUATION: Final = 0x0
_FIN: Final = 0x80
_WHOLE: Final = (_FIN | TEXT, _FIN | BINARY)  # first bytes of a message in one frame
_RESERVED: Final = 0x70
_MASKED: Final = 0x80
MAX_REASON_BYTES: Final = 123
_PART_FRAGMENTS: Final = 64
_FRAGMENTS: Final = 64
_FRAGMENT_BYTES: Final = 64
"""A message may have `_FRAGMENTS` fragments, and one more for every `_FRAGMENT_BYTES` bytes of its maximum size."""

NO_STATUS: Final = 1005  # RFC 6455, 7.1.5: a close frame without a code
ABNORMAL: Final = 1006  # the connection ended without a close frame

_FORBIDDEN_CODES = frozenset({1004, NO_STATUS, ABNORMAL, 1015})
_Utf8Decoder = codecs.getincrementaldecoder("utf-8")


class WireError(Exception):
    """The peer broke the protocol: close the connection with `close`."""

    def __init__(self, close: CloseCode, detail: str) -> None:
        super().__init__(detail)
        self.close = close


def frame(opcode: int, payload: bytes) -> bytes:
    """A whole unmasked frame, as a server sends it. A payload from `deflate` goes with `opcode | COMPRESSED`."""
    size = len(payload)
    if size < 126:
        return bytes((_FIN | opcode, size)) + payload
    if size < 65536:
        return struct.pack("!BBH", _FIN | opcode, 126, size) + payload
    return struct.pack("!BBQ", _FIN | opcode, 127, size) + payload


def close_frame(code: int, reason: str) -> bytes:
    """A close frame. A reason of more than 123 bytes of UTF-8 is cut off between characters."""
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


class _Incoming:
    """A message of which a part has arrived. Text is checked as it arrives, so that bad text is refused at once."""

    __slots__ = ("_decoder", "_mask", "compressed", "data", "final", "fragments", "missing", "opcode")

    def __init__(self, opcode: int, compressed: bool) -> None:
        self.opcode = opcode
        self.compressed = compressed
        self.data = bytearray()
        self._decoder: codecs.IncrementalDecoder | None = None  # from the first byte that is not ASCII
        self.final = False  # whether the frame in progress is the last one
        self.fragments = 0
        self.missing = 0  # bytes of the frame in progress
        self._mask = b""

    def begin_frame(self, final: bool, size: int, mask: bytes) -> None:
        """The next frame's header has arrived."""
        self.final, self.missing, self._mask = final, size, mask
        self.fragments += 1

    def add(self, masked: bytes) -> None:
        """Adds bytes of the frame in progress. Raises `UnicodeDecodeError`."""
        size = len(masked)
        self.missing -= size
        payload = apply_mask(masked, self._mask)
        if odd := size % 4:
            self._mask = self._mask[odd:] + self._mask[:odd]
        if self.opcode == TEXT and not self.compressed and (self._decoder is not None or not payload.isascii()):
            self._decoder = self._decoder or _Utf8Decoder()
            self._decoder.decode(payload, self.complete)
        self.data += payload

    @property
    def complete(self) -> bool:
        """Whether the last frame of the message has arrived."""
        return self.final and not self.missing


class Wire:
    """The receiving half of one connection. Holds at most one message (`max_message` bytes) and a control frame.

    `compression`: whether the peer may send compressed messages. An idle connection holds no buffer.
    """

    __slots__ = ("_buffer", "_closed", "_message", "compression", "max_message")

    def __init__(self, max_message: int, compression: bool = False) -> None:
        self.max_message = max_message
        self.compression = compression
        self._buffer = b""  # bytes of an incomplete frame header, or of an incomplete control frame
        self._message: _Incoming | None = None
        self._closed = False

    def feed(self, data: bytes) -> tuple[tuple[int, bytes]] | Iterator[tuple[int, bytes]]:
        """What `data` completes, in order: (TEXT or BINARY, message), (PING, PONG or CLOSE, payload), (PART, b"").

        Returns a tuple if that is one message and nothing else, and otherwise an iterator that parses only when its
        next item is requested. It may be read over several turns; read it to the end before the next call. Raises
        `WireError`, here or while iterating, after everything that precedes the error. Bytes after an error or a close
        frame are ignored (RFC 6455, 5.5.1 and 7.1.7).
        """
        # Fast path, twice as fast, for nearly all calls: one message of less than 64 KiB in one complete frame.
        if len(data) >= 6 and data[0] in _WHOLE and self._message is None and not self._buffer and not self._closed:
            opcode, second = data[0] & 0x0F, data[1]
            if second < _MASKED | 126:
                start, size = 6, second - _MASKED
            else:
                start, size = 8, int.from_bytes(data[2:4], "big")
            if size == len(data) - start and size <= self.max_message and second < _MASKED | 127:
                return ((opcode, self._checked(opcode, apply_mask(data[start:], data[start - 4 : start]))),)
        return self._frames(data)

    @property
    def held_bytes(self) -> int:
        """How many bytes of an incomplete message have arrived."""
        return 0 if self._message is None else len(self._message.data)

    @property
    def max_fragments(self) -> int:
        """How many fragments a message may have. As fragments may be empty, the limit on bytes does not bound them."""
        return _FRAGMENTS + self.max_message // _FRAGMENT_BYTES

    def _frames(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        if self._closed:
            return
        if self._buffer:
            data, self._buffer = self._buffer + data, b""
        position, end = 0, len(data)
        while position < end:
            message = self._message
            if message is not None and message.missing:
                piece = data[position : position + message.missing]
                position += len(piece)
                self._add(message, piece)
            else:
                head = self._parse_head(data, position)
                if head is None:
                    self._buffer = data[position:]
                    return
                start, size = head
                first = data[position]
                opcode = first & 0x0F
                stop = start + size
                if opcode >= CLOSE and end < stop:
                    self._buffer = data[position:]
                    return
                if opcode >= CLOSE or (end >= stop and first in _WHOLE):
                    position = stop
                    self._closed = opcode == CLOSE
                    yield opcode, self._checked(opcode, apply_mask(data[start:stop], data[start - 4 : start]))
                    if self._closed:
                        return
                    continue
                if message is None:
                    message = self._message = _Incoming(opcode, bool(first & COMPRESSED))
                message.begin_frame(first >= _FIN, size, data[start - 4 : start])
                if message.fragments > self.max_fragments:
                    raise self._broken(codes.WIRE_TOO_BIG, f"a message has more than {self.max_fragments} fragments")
                position = start
                if not size:
                    self._add(message, b"")
            if message.complete:
                self._message = None
                yield message.opcode, self._whole(message)
            elif not message.missing and message.fragments % _PART_FRAGMENTS == 0:
                yield PART, b""

    def _parse_head(self, data: bytes, position: int) -> tuple[int, int] | None:
        """Where a frame's payload begins, and its size; None while the header is incomplete."""
        if len(data) - position < 2:
            return None
        first, second = data[position], data[position + 1]
        size = second & 0x7F
        start = position + 2
        if size >= 126:
            start += 2 if size == 126 else 8
            if len(data) < start:
                self._check_head(first, second, 0)
                return None
            size = int.from_bytes(data[position + 2 : start], "big")
        self._check_head(first, second, size)
        start += 4
        return (start, size) if len(data) >= start else None

    def _check_head(self, first: int, second: int, size: int) -> None:
        """Refuses a frame as soon as its header is wrong, before its payload has arrived."""
        opcode = first & 0x0F
        # RFC 7692, 6.1: only on the first frame of a message.
        allowed = COMPRESSED if self.compression and opcode in (TEXT, BINARY) else 0
        if first & _RESERVED & ~allowed:
            raise self._broken(codes.WIRE_PROTOCOL_ERROR, "reserved bits are set")
        if not second & _MASKED:
            raise self._broken(codes.WIRE_PROTOCOL_ERROR, "a client's frame is not masked")
        if opcode in (TEXT, BINARY):
            if self._message is not None:
                raise self._broken(codes.WIRE_PROTOCOL_ERROR, "a new message inside a fragmented one")
        elif opcode == _CONTINUATION:
            if self._message is None:
                raise self._broken(codes.WIRE_PROTOCOL_ERROR, "a continuation frame without a message")
        elif opcode in (CLOSE, PING, PONG):
            if not first & _FIN or second & 0x7F > 125:
                raise self._broken(codes.WIRE_PROTOCOL_ERROR, "a control frame is fragmented or too long")
        else:
            raise self._broken(codes.WIRE_PROTOCOL_ERROR, f"opcode {opcode} is reserved")
        if opcode < CLOSE and size + (0 if self._message is None else len(self._message.data)) > self.max_message:
            raise self._broken(codes.WIRE_TOO_BIG, f"a message is larger than {self.max_message} bytes")

    def _add(self, message: _Incoming, piece: bytes) -> None:
        try:
            message.add(piece)
        except UnicodeDecodeError:
            raise self._not_utf8() from None

    def _whole(self, message: _Incoming) -> bytes:
        data = bytes(message.data)
        if not message.compressed:
            return data
        try:
            return self._checked(message.opcode, inflate(data, self.max_message))
        except InflateError as error:
            raise self._broken(error.close, str(error)) from None

    def _checked(self, opcode: int, message: bytes) -> bytes:
        if opcode == TEXT and not message.isascii():
            try:
                message.decode()
            except UnicodeDecodeError:
                raise self._not_utf8() from None
        return message

    def _not_utf8(self) -> WireError:
        return self._broken(codes.WIRE_BAD_UTF8, "a text message is not UTF-8")

    def _broken(self, close: CloseCode, detail: str) -> WireError:
        self._closed = True
        return WireError(close, detail)
