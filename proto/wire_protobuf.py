"""The pieces of a proto3 message: variable-length numbers, writers of fields, and the skipping of unknown fields.

A field is a tag (its number and wire type) and a value. Reading past the end raises IndexError, which the reader of a
frame turns into `BadFrame` once, instead of checking the length at each byte.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from msgspec import Struct

from proto.codec import BadFrame, NotEncodable

VARINT: Final = 0
DELIMITED: Final = 2
_FIXED64, _FIXED32 = 1, 5

LENGTH_BITS: Final = 35
"""Lengths and tags have 32 bits: at most 5 bytes of 7 bits."""

NUMBER_BITS: Final = 70
"""Values have 64 bits: at most 10 bytes of 7 bits."""

_FIELD_NUMBERS: Final = range(1, 1 << 29)

_BYTE: Final = tuple(bytes((number,)) for number in range(128))

Writer = Callable[[Any], bytes]
"""Encodes a value as a whole field, with its tag. Called only for values that are not the default."""


def varint(number: int) -> bytes:
    """A non-negative number in LEB128: the lowest 7 bits come first."""
    if number < 128:
        return _BYTE[number]
    if number < 1 << 14:
        return bytes((number & 127 | 128, number >> 7))
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


def read_varint(data: bytes, pos: int, bits: int) -> tuple[int, int]:
    """The number at `pos` and the position after it. Raises `BadFrame` if it has more bytes than `bits` need."""
    number = 0
    for shift in range(0, bits, 7):
        byte = data[pos]
        pos += 1
        number |= (byte & 127) << shift
        if byte < 128:
            return number & 0xFFFF_FFFF_FFFF_FFFF, pos  # a tenth byte could hold more than 64 bits
    raise BadFrame("a number has too many bytes")


def skip(data: bytes, pos: int, tag: int) -> int:
    """The position after the field whose tag is `tag` and whose value begins at `pos`. It may lie past the end of the
    data. Raises `BadFrame`."""
    if tag >> 3 not in _FIELD_NUMBERS:
        raise BadFrame(f"{tag >> 3} is not a field number")
    wire_type = tag & 7
    if wire_type == VARINT:
        return read_varint(data, pos, NUMBER_BITS)[1]
    if wire_type == DELIMITED:
        length, pos = read_varint(data, pos, LENGTH_BITS)
        return pos + length
    if wire_type == _FIXED64:
        return pos + 8
    if wire_type == _FIXED32:
        return pos + 4
    raise BadFrame(f"wire type {wire_type} is not supported")


def bool_writer(number: int) -> Writer:
    """A writer of `true` in the field `number`."""
    field = varint(number << 3 | VARINT) + b"\x01"
    return lambda value: field


def number_writer(number: int, values: range) -> Writer:
    """A writer of integers. It raises `NotEncodable` for a number outside `values`."""
    tag = varint(number << 3 | VARINT)
    least, most = values[0], values[-1]

    def write(value: int) -> bytes:
        if not least <= value <= most:
            raise NotEncodable(f"{value} does not fit into its field")
        return tag + varint(value if value >= 0 else value + (1 << 64))

    return write


def text_writer(number: int) -> Writer:
    """A writer of strings."""
    tag = varint(number << 3 | DELIMITED)

    def write(value: str) -> bytes:
        data = value.encode()
        return tag + varint(len(data)) + data

    return write


def bytes_writer(number: int) -> Writer:
    """A writer of bytes, or of another object that has a length and can be joined to bytes, such as `Raw`."""
    tag = varint(number << 3 | DELIMITED)
    return lambda value: b"".join((tag, varint(len(value)), value))


def message_writer(number: int, encode: Callable[[Any], bytes]) -> Writer:
    """A writer of messages that `encode` encodes."""
    tag = varint(number << 3 | DELIMITED)

    def write(value: Struct) -> bytes:
        data = encode(value)
        return tag + varint(len(data)) + data

    return write


def list_writer(write_item: Writer) -> Writer:
    """A writer of repeated fields: `write_item` for each."""
    return lambda items: b"".join(map(write_item, items))


def map_writer(number: int, write_key: Writer, write_value: Writer) -> Writer:
    """A writer of maps. An entry has key and value even if they are empty, as in all implementations."""
    tag = varint(number << 3 | DELIMITED)

    def write(items: dict[str, Any]) -> bytes:
        entries = (write_key(key) + write_value(value) for key, value in items.items())
        return b"".join(tag + varint(len(entry)) + entry for entry in entries)

    return write
