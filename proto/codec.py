"""Messages to bytes and back, in JSON. One frame holds one or more messages, joined by a newline.

Decoding is bounded by the caller (a frame has a size limit, see the edge's wire) and by `max_commands` here. Payloads
are embedded as the bytes that they arrived as; only newlines between their tokens are taken out, since a newline ends a
message.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

import msgspec
from msgspec import Raw

from proto.messages import Command, Publication, Reply

PING = b"{}"

_decode_command = msgspec.json.Decoder(Command).decode
_decode_raw = msgspec.json.Decoder(Raw).decode  # checks the syntax, makes no objects
_encode = msgspec.json.Encoder().encode


class BadFrame(ValueError):
    """The frame holds something else than commands; its text says what, for the log. The connection ends with 3501."""


def decode_commands(frame: bytes, max_commands: int) -> list[Command]:
    """The commands of a frame, in order. Raises `BadFrame` for no command, an undecodable one, or too many."""
    if frame.endswith(b"\n"):
        frame = frame[:-1]
    lines = frame.split(b"\n")
    if len(lines) > max_commands:
        raise BadFrame(f"{len(lines)} commands in a frame, at most {max_commands} are taken")
    try:
        if not frame.isascii():
            frame.decode()  # a binary frame was not checked yet, and embedded values are passed on unread
        return [_decode_command(line) for line in lines]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadFrame(str(error)) from None


def encode_reply(reply: Reply) -> bytes:
    """A reply or push as one JSON message, without a newline in it."""
    return _encode(reply)


def join_messages(messages: Iterable[bytes]) -> bytes:
    """Several messages as the payload of one frame."""
    return b"\n".join(messages)


def payload(data: bytes) -> Raw:
    """`data` as an embeddable JSON value. Raises ValueError when it is not valid JSON in UTF-8.

    It takes whatever `decode_commands` takes as embedded data, such as numbers that fit into no machine type: what was
    published and acknowledged must not be refused by whoever reads it from the log.
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


@lru_cache(maxsize=16384)
def _push_head(channel: str) -> bytes:
    return b'{"push":{"channel":' + _encode(channel) + b',"pub":'


def encode_publication_push(channel: str, publication: Publication) -> bytes:
    """The push of one publication; what `encode_reply` gives for it, made once for all subscribers."""
    return _push_head(channel) + _encode(publication) + b"}}"
