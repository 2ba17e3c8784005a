"""Messages to bytes and back: what the two encodings, `codec_json` and `codec_protobuf`, have in common.

A *frame* is what one transport frame holds: one or more messages. Decoding is bounded by the caller (a frame has a size
limit, see the edge's wire) and by `max_commands` here. Payloads pass through as the bytes that they arrived as, so a
Protobuf connection takes any bytes, and a JSON connection only those that are JSON: see `payload`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

import msgspec
from msgspec import Raw

from proto.messages import Command, Push, Reply


class BadFrame(ValueError):
    """The frame holds something else than commands; its text says what, for the log. The connection ends with 3501."""


class NotEncodable(ValueError):
    """The message holds a payload that this encoding cannot carry. A JSON connection ends with 3506."""


class Codec(Protocol):
    """One encoding. Messages are encoded without the mark that ends or precedes them in a frame: `join` adds it."""

    name: str
    """"json" or "protobuf"."""

    ping: bytes
    """The empty reply, as a message."""

    def decode_commands(self, frame: bytes, max_commands: int) -> list[Command]:
        """The commands of a frame, in order. Raises `BadFrame` for none, an undecodable one, or too many."""

    def encode_reply(self, reply: Reply) -> bytes:
        """A reply or push as one message. Raises `NotEncodable`."""

    def encode_push(self, push: Push) -> bytes:
        """A push without the reply around it, as unidirectional transports send it. Raises `NotEncodable`."""

    def join(self, messages: Iterable[bytes]) -> bytes:
        """Messages as the payload of one frame."""


_decode_raw = msgspec.json.Decoder(Raw).decode  # checks the syntax, makes no objects


def payload(data: bytes) -> Raw:
    """`data` as an embeddable JSON value. Raises ValueError when it is not valid JSON in UTF-8.

    It takes whatever JSON clients may embed, such as numbers that fit into no machine type: what was published and
    acknowledged must not be refused by whoever reads it from the log. Newlines between its tokens are taken out, since
    a newline ends a message.
    """
    try:
        _decode_raw(data)
        if not data.isascii():
            data.decode()
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"not JSON: {error}") from None
    if b"\n" in data or b"\r" in data:  # legal only between tokens: inside a string they are escaped
        data = data.replace(b"\n", b"").replace(b"\r", b"")
    return Raw(data)
