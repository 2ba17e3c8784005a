"""permessage-deflate (RFC 7692) without context takeover: each message is compressed by itself.

All receivers can therefore share a compressed message, and no zlib object outlives a message: a connection holds none.
The price is compression: text that repeats from one message to the next is sent again.
"""

from __future__ import annotations

import re
import zlib
from typing import Final, NamedTuple

from proto import codes
from proto.codes import CloseCode

MAX_WINDOW_BITS: Final = 15
_MIN_WINDOW_BITS: Final = 9  # zlib does not deflate with 8
_WINDOWS: Final = frozenset({"8", "9", "10", "11", "12", "13", "14", "15"})
_LEVEL: Final = 1
"""On JSON of 1 KiB, level 6 saves 5 % more and takes 25 % longer; on 16 KiB, 20 % and 250 %. Fan-outs wait for it."""

_TAIL: Final = (
    b"\x00\x00\xff\xff"  # the end of a flush: the sender cuts it off, the receiver adds it again (RFC 7692, 7.2)
)
_PARAMETER = re.compile(r'\s*([!#$%&\'*+.^_`|~0-9A-Za-z-]+)\s*(?:=\s*(?:"([^"\\]*)"|([^\s;,"=]+))\s*)?')


class InflateError(Exception):
    """A message cannot be decompressed; the connection is to be closed with `close`."""

    def __init__(self, close: CloseCode, detail: str) -> None:
        super().__init__(detail)
        self.close = close


class Agreement(NamedTuple):
    """The negotiated window to compress with, and the response's `Sec-WebSocket-Extensions`."""

    window_bits: int
    response: str


def negotiate(offers: str) -> Agreement | None:
    """The agreement on the first acceptable offer in a client's `Sec-WebSocket-Extensions`; None: no compression."""
    for offer in offers.split(","):
        name, *parameters = offer.split(";")
        if name.strip().lower() == "permessage-deflate" and (agreement := _meet(parameters)) is not None:
            return agreement
    return None


def _meet(parameters: list[str]) -> Agreement | None:
    """None when an offer with these parameters must be declined (RFC 7692, 7.1)."""
    seen: dict[str, str | None] = {}
    for text in parameters:
        found = _PARAMETER.fullmatch(text)
        if found is None or found[1] in seen:
            return None
        seen[found[1]] = found[2] if found[2] is not None else found[3]
    response = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
    window = MAX_WINDOW_BITS
    for name, value in seen.items():
        if name == "server_max_window_bits" and value in _WINDOWS and int(value) >= _MIN_WINDOW_BITS:
            window = int(value)
            response += f"; server_max_window_bits={value}"
        elif name == "client_max_window_bits" and (value is None or value in _WINDOWS):
            pass  # any window can be inflated
        elif name not in ("server_no_context_takeover", "client_no_context_takeover") or value is not None:
            return None
    return Agreement(window, response)


def deflate(message: bytes, window_bits: int) -> bytes:
    """A message as the payload of a frame whose RSV1 is set; it may be larger than the message.

    The window is not larger than the message: setting up zlib takes 16 µs with the largest window, 4 with the smallest.
    """
    bits = min(window_bits, max(_MIN_WINDOW_BITS, len(message).bit_length()))
    squeeze = zlib.compressobj(_LEVEL, zlib.DEFLATED, -bits, min(8, bits - 6))
    return squeeze.compress(message) + squeeze.flush(zlib.Z_SYNC_FLUSH)[: -len(_TAIL)]


def inflate(payload: bytes, max_message: int) -> bytes:
    """The message in the joined payloads of a compressed message's frames. Raises `InflateError`.

    Never inflates more than `max_message` + 1 bytes, whatever the payload would become.
    """
    stretch = zlib.decompressobj(-MAX_WINDOW_BITS)
    try:
        message = stretch.decompress(payload + _TAIL, max_message + 1)
    except zlib.error:
        raise InflateError(codes.WIRE_BAD_UTF8, "a compressed message cannot be decompressed") from None
    if len(message) > max_message:
        raise InflateError(codes.WIRE_TOO_BIG, f"a compressed message is larger than {max_message} bytes")
    if stretch.eof and stretch.unused_data not in (_TAIL, b"\x00" + _TAIL):
        # A last block is padded with one empty byte (RFC 7692, 7.2.3.4). A chain of such blocks is legal too, but no
        # client sends one, and a decompressor for every two bytes would be too much work to allow.
        raise InflateError(codes.WIRE_BAD_UTF8, "a compressed message goes on after its end")
    return message
