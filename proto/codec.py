"""Messages to bytes and back: what the two encodings, `codec_json` and `codec_protobuf`, have in common.

A *frame* is the content of one transport frame: one or more messages. The caller bounds the size of a frame (see
`services/edge/framing/wire.py`), and `max_commands` the number of commands in it. Payloads pass through as the bytes
that arrived: a Protobuf connection carries any bytes, a JSON connection only valid JSON, see `payload`. On either, JSON
nests at most `MAX_NESTING` levels.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

import msgspec
from msgspec import Raw

from proto.commands import Command
from proto.json_decoder import JsonDecoder
from proto.messages import NO_DATA
from proto.nesting import MAX_NESTING, SHALLOW_BYTES, TooDeep, cut, may_be_too_deep, nesting
from proto.replies import Push, Reply


class BadFrame(ValueError):
    """The frame does not hold valid commands; the text says why, for the log. The connection is closed with 3501."""


class NotEncodable(ValueError):
    """The message has a payload that this encoding cannot carry, such as a publication that is not JSON."""


class Codec(Protocol):
    """One encoding. A message is encoded without its separator or length in a frame; `join` adds that."""

    name: str
    """"json" or "protobuf"."""

    ping: bytes
    """The empty reply, as a message."""

    def decode_commands(self, frame: bytes, max_commands: int) -> list[Command]:
        """The commands of a frame, in order. Raises `BadFrame` for a frame with an undecodable command, no command, or
        too many."""

    def split_first(self, frame: bytes) -> tuple[bytes, bytes]:
        """The first command of a frame, as a frame of its own, and the rest of it, b"" if there is none.

        Decodes neither. Raises `BadFrame`.
        """

    def encode_reply(self, reply: Reply) -> bytes:
        """A reply or push as one message. Raises `NotEncodable`."""

    def encode_push(self, push: Push) -> bytes:
        """A push without the reply around it, as unidirectional transports send it. Raises `NotEncodable`."""

    def without_uncarried(self, reply: Reply) -> tuple[Reply | None, int]:
        """A reply for which `NotEncodable` was raised, without the publications that this encoding cannot carry.

        None if nothing is left of it. Also returns the number of removed publications.
        """

    def join(self, messages: Iterable[bytes]) -> bytes:
        """Encoded messages as the content of one frame."""


_syntax: JsonDecoder[Raw] = JsonDecoder(Raw)
_check_syntax = _syntax.strictly


def is_too_deep(data: bytes) -> bool:
    """Whether `data` is JSON that nests deeper than `MAX_NESTING`. Bytes that are not JSON have no levels."""
    if not may_be_too_deep(data) or nesting(data) <= MAX_NESTING:
        return False
    try:
        _syntax.decode(cut(data))
    except msgspec.DecodeError:
        return False
    return True


def payload(data: bytes) -> Raw:
    """`data` as an embeddable JSON value. Raises ValueError if it is not valid JSON in UTF-8, or `TooDeep`.

    Everything that JSON clients may embed is valid, even numbers that fit no machine type, and half of an emoji: a
    publication that was acknowledged must not be refused when it is read from the log. Newlines between tokens are
    removed, since a newline ends a message.
    """
    if len(data) > SHALLOW_BYTES and is_too_deep(data):
        raise TooDeep
    try:
        if not data.isascii():
            data.decode()
        _check_syntax(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        try:
            _syntax.decode(data)
        except msgspec.DecodeError as error:
            raise ValueError(f"not JSON: {error}") from None
    if b"\n" in data or b"\r" in data:  # legal only between tokens: inside a string they are escaped
        data = data.replace(b"\n", b"").replace(b"\r", b"")
    return Raw(data)


def optional_payload(data: Raw) -> Raw:
    """The same for a payload that may be missing."""
    return payload(bytes(data)) if len(data) else NO_DATA
