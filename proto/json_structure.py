"""Limits how much a frame of JSON may contain to be decoded. Payloads do not count: they are passed on undecoded.

Decoding takes up to 1 us for each object, if it needs several passes. A node of a tags filter is an object of three
bytes, so a frame full of such nodes would hold up the edge.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from msgspec import Raw, Struct

from proto.json_decoder import JsonDecoder
from proto.messages import NO_DATA

PARTS_PER_FRAME: Final = 8192
PARTS_PER_CHANNEL: Final = 6
MOST_PARTS: Final = 65_536
PARTS_PER_COMMAND: Final = 12
"""How many parts (commas and opening braces) a frame may have: `PARTS_PER_COMMAND` for each command in it; in addition
`PARTS_PER_FRAME`, or `PARTS_PER_CHANNEL` for each command that it may have, if that is more, but at most `MOST_PARTS`.
A subscribe has up to 13 parts, rarely more than nine; each channel in a connect has five. The largest accepted filter
has 600."""


UNCHECKED_BYTES: Final = 65_536
"""A frame of up to this size is decoded once without counting its parts: that takes 6 ms at most."""


class TooMuchStructure(ValueError):
    """The frame has more parts than commands need."""


class _WithData(Struct):
    data: Raw = NO_DATA


class _Payloads(Struct):
    """A command, or a connect request, with only its payloads."""

    data: Raw = NO_DATA
    connect: _WithData | None = None
    subscribe: _WithData | None = None
    publish: _WithData | None = None
    rpc: _WithData | None = None
    send: _WithData | None = None


_read_payloads = JsonDecoder[_Payloads](_Payloads).decode


def check_structure(frame: bytes, lines: Iterable[bytes], max_commands: int) -> None:
    """Raises `TooMuchStructure`, and DecodeError if the frame is not JSON. Examines only large frames."""
    if len(frame) <= PARTS_PER_FRAME or _parts(frame) <= PARTS_PER_FRAME:
        return
    left = max(PARTS_PER_FRAME, min(PARTS_PER_CHANNEL * max_commands, MOST_PARTS))
    for line in lines:
        left -= max(_parts(line) - _parts_of_payloads(line) - PARTS_PER_COMMAND, 0)
        if left < 0:
            raise TooMuchStructure("a frame has too many fields")


def _parts(text: bytes) -> int:
    return text.count(b",") + text.count(b"{")


def _parts_of_payloads(line: bytes) -> int:
    """If a payload occurs twice the last one counts, as it does for the command."""
    found = _read_payloads(line)
    each = (found, found.connect, found.subscribe, found.publish, found.rpc, found.send)
    return sum(_parts(bytes(one.data)) for one in each if one is not None)
