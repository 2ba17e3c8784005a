"""How deep JSON may nest: a limit of our own, so that every edge, on every Python, can read what is stored.

Python's limit depends on its version and on what is left of the stack: a payload of 980 levels may be accepted by one
reader and refused by the next.
"""

from __future__ import annotations

import re
from itertools import accumulate
from typing import Final

MAX_NESTING: Final = 128
"""Levels of arrays and objects in a payload. Applications use a few levels; Python 3.11 reads about 900, and a client's
JSON library may have a limit of its own (.NET 64, PHP 512)."""

SHALLOW_BYTES: Final = 2 * MAX_NESTING
"""A text of up to this many bytes cannot be too deep: a level takes two bytes."""

CUT_BELOW: Final = MAX_NESTING + 16
"""How many levels of a message `cut` keeps: enough that a payload that is too deep remains so, and for what is around
it."""

_ESCAPE: Final = re.compile(rb"\\.", re.DOTALL)
_BETWEEN_QUOTES: Final = re.compile(rb'"[^"]*+"?')

_SQUARE: Final = bytes.maketrans(b"{}", b"[]")
_NEITHER_BRACKETS_NOR_QUOTES: Final = bytes(byte for byte in range(256) if byte not in b'[]{}"')
_STEPS: Final = bytes({0x5B: 1, 0x7B: 1, 0x5D: 0xFF, 0x7D: 0xFF}.get(byte, 0) for byte in range(256))
"""By how much each byte of a text changes the level, as a signed byte."""

_FEW_LEVELS: Final = 8
"""This many levels are counted by removing the innermost brackets, which is fast for payloads with many values."""


class TooDeep(ValueError):
    """A payload nests deeper than `MAX_NESTING`. `what` names it in the text."""

    def __init__(self, what: str = "the data") -> None:
        super().__init__(f"{what} is nested deeper than {MAX_NESTING} levels")


def may_be_too_deep(data: bytes) -> bool:
    """Whether `data` has so many brackets that its levels have to be counted. Hardly any payload has."""
    return len(data) > SHALLOW_BYTES and data.count(b"[") + data.count(b"{") > MAX_NESTING


def nesting(text: bytes) -> int:
    """The levels of arrays and objects in a JSON text, 0 for a number or a string."""
    if b"\\" in text:
        text = _ESCAPE.sub(b"", text)
    brackets = text.translate(_SQUARE, _NEITHER_BRACKETS_NOR_QUOTES).replace(b'""', b"")
    if b'"' in brackets:  # only strings with brackets are left; adjacent ones have become one
        brackets = _BETWEEN_QUOTES.sub(b"", brackets)
    levels = 0
    while brackets and levels < _FEW_LEVELS:
        brackets = brackets.replace(b"[]", b"")
        levels += 1
    return levels + max(accumulate(memoryview(brackets.translate(_STEPS)).cast("b"), initial=0))


def cut(text: bytes) -> bytes:
    """The text with a 0 in place of each value that is deeper than `CUT_BELOW`, so that every Python can read it.

    The content of such a value does not matter, as no payload may be so deep.
    """
    if not may_be_too_deep(text):
        return text
    pieces = text.replace(b"\\\\", b"__").replace(b'\\"', b"__").split(b'"')
    if len(pieces) > 1:  # every second one is a string: it has no brackets
        pieces[1::2] = map(bytes, map(len, pieces[1::2]))
    blank = b'"'.join(pieces)
    levels = accumulate(memoryview(blank.translate(_STEPS)).cast("b"))
    is_deep = bytes(map(CUT_BELOW.__lt__, levels))
    parts: list[bytes] = []
    done = 0
    while (start := is_deep.find(1, done)) >= 0:
        end = is_deep.find(0, start)  # the bracket that closes it
        parts += (text[done:start], b"0")
        done = end + 1 if end >= 0 else len(text)
    return b"".join((*parts, text[done:]))
