"""Mutated JSON texts, and what is to become of each: judged by the standard library, not by the code under test."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from enum import Enum
from typing import Any

MAX_NESTING = 128  # the promise, not our code's constant

SEEDS = [
    b'{"text":"hello","n":1,"from":{"id":"7","name":"Alice"}}',
    b"[1,-2.5e10,0.1,1e400,123456789012345678901234567890,true,false,null]",
    '{"greeting":"grüße","city":"東京","face":"😀 \\ud83d\\ude00"}'.encode(),
    rb'{"cut":"caf\u00e9 \ud83d","keys":{"\ude00":["\ud83d\ud83d","\\\ud83d"]}}',
    rb'"quotes \" and \\ and \/ and \b\f\n\r\t and [{ ]} in a string"',
    b'{ "spaced" : [ 1 ,\t2 ] ,\r "x" : { } }',
    b'{"a":{"a":{"a":[[[[{"b":[]}]]]]}},"a":1,"":""}',
    b'"x"',
    b"0",
    b"[]",
]

PIECES = [
    *(bytes((byte,)) for byte in b'{}[]":,\\ \n\r\t\x00\x1f\x7f\x80\xff019-+.eEn'),
    b"null",
    b"true",
    b"\\u",
    b"\\ud83d",
]
PIECES += [
    b"\\ude00",
    b"\xed\xa0\xbd",
    b"\xef\xbb\xbf",
    b"\xf0\x9f\x98\x80",
    b"1e999999",
    b"NaN",
    b"Infinity",
    b"9" * 40,
]
PIECES += [b'"a":', b",,", b'{"push":{"pub":', b'}}\n{"id":1', b"//", b"\xc2\x85", b"\xe2\x80\xa8", b"-0", b"01"]

LEVELS = [1, 2, 60, 126, 127, 128, 129, 130, 200, 500, 900, 970, 976, 983, 990, 1000, 1100, 2500]


def _insert(chance: random.Random, text: bytes) -> bytes:
    place = chance.randint(0, len(text))
    return text[:place] + chance.choice(PIECES) + text[place:]


def _replace(chance: random.Random, text: bytes) -> bytes:
    place = chance.randint(0, len(text))
    return text[:place] + chance.choice(PIECES) + text[place + 1 :]


def _flip(chance: random.Random, text: bytes) -> bytes:
    changed = bytearray(text)
    if changed:
        changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def _cut(chance: random.Random, text: bytes) -> bytes:
    start, end = sorted((chance.randint(0, len(text)), chance.randint(0, len(text))))
    return text[:start] + text[end:] if chance.random() < 0.5 else text[start:end]


def _repeat(chance: random.Random, text: bytes) -> bytes:
    start, end = sorted((chance.randint(0, len(text)), chance.randint(0, len(text))))
    return text[:end] + text[start:end] * chance.randint(1, 3) + text[end:]


def _splice(chance: random.Random, text: bytes) -> bytes:
    other = chance.choice(SEEDS)
    return text[: chance.randint(0, len(text))] + other[chance.randint(0, len(other)) :]


def _nest(chance: random.Random, text: bytes) -> bytes:
    opens, closes = chance.choice([(b"[", b"]"), (b'{"a":', b"}"), (b"[[],", b"]")])
    levels = chance.choice(LEVELS)
    return opens * levels + text + closes * levels


def _halve(chance: random.Random, text: bytes) -> bytes:
    place = text.find(b'"', chance.randint(0, len(text))) + 1
    return text[:place] + b"\\u%04x" % chance.randrange(0xD800, 0xE000) + text[place:]


MUTATIONS: list[Callable[[random.Random, bytes], bytes]] = [
    *(_insert, _replace, _flip, _cut, _repeat, _splice, _halve, _halve, _nest),
]
MOST_BYTES = 8000


def mutated_texts(count: int, seed: int) -> Iterator[bytes]:
    """So many texts, none of them empty; the same ones for the same seed."""
    chance = random.Random(seed)
    while count:
        text = chance.choice(SEEDS)
        for _ in range(chance.choice((0, 1, 1, 1, 2, 3, 5))):
            text = chance.choice(MUTATIONS)(chance, text)[:MOST_BYTES]
        if text:
            count -= 1
            yield text


class Kind(Enum):
    """What is to become of a text that is published."""

    GOOD = "good"
    """Everybody gets it, whoever sends it."""
    TOO_DEEP = "too deep"
    """Error 107."""
    NOT_JSON = "not JSON"
    """In JSON the frame is refused (3501). In Protobuf it is any bytes, which only Protobuf clients get."""
    NOT_JSON_AND_DEEP = "not JSON, and deep"
    """As `NOT_JSON`, or error 107: nobody has to read so deep to tell."""


def _no_constant(name: str) -> None:
    raise ValueError(name)


def parse(text: str) -> Any:
    """The value of a JSON text, with numbers as they are written. Raises ValueError."""
    return json.loads(text, parse_int=str, parse_float=str, parse_constant=_no_constant)


def kind_of(text: bytes) -> Kind:
    """Judges a text. Levels are counted here, as the library reads only as many as Python's stack allows."""
    is_deep = _levels(text) > MAX_NESTING
    try:
        parse(text.decode())
    except RecursionError:
        return Kind.NOT_JSON_AND_DEEP  # who knows
    except ValueError:
        return Kind.NOT_JSON_AND_DEEP if is_deep else Kind.NOT_JSON
    return Kind.TOO_DEEP if is_deep else Kind.GOOD


def _levels(text: bytes) -> int:
    if text.count(b"[") + text.count(b"{") <= MAX_NESTING:
        return 0  # few enough
    level = deepest = 0
    in_string = escaped = False
    for byte in text:
        if in_string:
            in_string, escaped = escaped or byte != ord('"'), not escaped and byte == ord("\\")
        elif byte == ord('"'):
            in_string = True
        elif byte in b"[{":
            level += 1
            deepest = max(deepest, level)
        elif byte in b"]}":
            level -= 1
    return deepest
