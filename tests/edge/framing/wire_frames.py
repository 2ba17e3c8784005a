"""A client's frames, byte for byte, and what the wire reads of them."""

from __future__ import annotations

import struct

from services.edge.framing.wire import Wire, WireError

LIMIT = 1000
CONTINUATION = 0
FIN = 0x80
MASK = b"\x37\xfa\x21\x3d"  # that of the examples in RFC 6455, 5.7


def client_frame(
    opcode: int, payload: bytes = b"", *, fin: bool = True, rsv: int = 0, mask: bytes | None = MASK
) -> bytes:
    """A frame as a client sends it; `mask` None breaks the rule."""
    size, masked = len(payload), 0x80 if mask is not None else 0
    first = (FIN if fin else 0) | rsv | opcode
    if size < 126:
        head = struct.pack("!BB", first, masked | size)
    elif size < 65536:
        head = struct.pack("!BBH", first, masked | 126, size)
    else:
        head = struct.pack("!BBQ", first, masked | 127, size)
    if mask is None:
        return head + payload
    return head + mask + bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))


def hear(*chunks: bytes, limit: int = LIMIT, compression: bool = False) -> tuple[list[tuple[int, bytes]], int | None]:
    """The messages that the wire reads in these chunks, and the close code if it refuses to go on."""
    ear, found = Wire(limit, compression), []
    for chunk in chunks:
        try:
            for frame in ear.feed(chunk):
                found.append(frame)
        except WireError as error:
            assert str(error)
            return found, error.close.code
    return found, None
