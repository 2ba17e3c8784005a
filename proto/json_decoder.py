"""Decodes the JSON of others into structs. msgspec does it; this module adds what it refuses and must not.

- Half of an emoji, `"\\ud83d"`, is JSON by the grammar, and what `text.slice(0, 20)` leaves in JavaScript. A payload
  keeps it as it is. Text that the edge reads itself cannot have it: it is refused, as two user ids could look the same
  otherwise, or (`replaces_halves`) has U+FFFD in its place.
- `null` is the same as a field that is left out. An entry of a map or list is no field: there it stays an error.
- A text may nest as deep as it likes: whatever lies below the limit of payloads is cut off before it is decoded (see
  `nesting`), so that neither the text nor Python's version decides about the rest of the message.

All of it costs only texts that have one of these: others are decoded once. Those cost a few times as much, in time that
is linear in the text: every step of them is done in C (see `json_nullable`).
"""

from __future__ import annotations

import re
from functools import cached_property
from random import getrandbits
from typing import Any, Final, Generic, TypeVar

import msgspec
from msgspec import DecodeError, Raw, ValidationError

from proto.json_nullable import PayloadFields, nullable
from proto.messages import NO_DATA
from proto.nesting import cut

T = TypeVar("T")

_NULL: Final = b"null"

_UP_TO_HALF: Final = re.compile(
    rb"(?:[^\\]++|\\(?:[^u]|u(?![dD][89a-fA-F][0-9a-fA-F]{2})"
    rb"|u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}))*+(\\u)[dD][89a-fA-F]",
    re.DOTALL,
).match
"""Half of a pair of surrogates, and all before it: other characters, other escapes, and pairs."""

_REPLACEMENT: Final = "\ufffd".encode()

_encode = msgspec.json.Encoder().encode


class JsonDecoder(Generic[T]):
    """Decodes JSON texts into `kind`, which may be a struct, or `Raw` for any payload."""

    def __init__(self, kind: type[T] | Any, replaces_halves: bool = False) -> None:
        self._kind = kind
        self._replaces_halves = replaces_halves
        self.strictly = msgspec.json.Decoder(kind).decode
        """What msgspec alone makes of a text that is UTF-8. Where it raises DecodeError or RecursionError, and where it
        leaves a payload that is `null`, `decode` has the answer."""

    @cached_property
    def _payloads(self) -> PayloadFields:
        return PayloadFields(self._kind)

    @cached_property
    def _twin(self) -> tuple[msgspec.json.Decoder[Any], PayloadFields]:
        twin = nullable(self._kind)
        return msgspec.json.Decoder(twin), PayloadFields(twin)

    def decode(self, text: bytes) -> T:
        """The value. Raises DecodeError, and nothing else, for what is not JSON in UTF-8, or not of this kind."""
        try:
            if not text.isascii():
                text.decode()
            value: T = self.strictly(text)
        except UnicodeDecodeError as error:
            raise DecodeError(str(error)) from None
        except (DecodeError, RecursionError) as error:
            return self._leniently(text, error)
        return self._again(text, b"") if _NULL in text and self.has_null(value) else value

    def has_null(self, value: T) -> bool:
        """Whether a payload in what `strictly` made of a text with `null` in it is `null`."""
        return self._payloads.has_null(value)

    def _leniently(self, text: bytes, error: Exception) -> T:
        marked, mark = _marked(text)
        is_deep = isinstance(error, RecursionError)
        if not is_deep and not mark and not (_NULL in text and isinstance(error, ValidationError)):
            raise error
        try:
            if not is_deep:
                try:
                    return self._again(marked, mark)
                except RecursionError:  # behind what was the error before
                    pass
            return self._again(*_marked(cut(text)))
        except RecursionError as too_deep:
            raise DecodeError(str(too_deep)) from None

    def _again(self, text: bytes, mark: bytes) -> T:
        """The value of a text without fields that are `null`, and with halves of pairs in place of their marks."""
        decoder, payloads = self._twin
        mark_of_payloads = mark.upper()  # `strictly` cannot read halves yet, and other text gets something else

        def given(raw: Raw) -> Raw | None:
            data = bytes(raw)
            if data == _NULL:
                return None
            return Raw(data.replace(mark, mark_of_payloads)) if mark and mark in data else raw

        twin = payloads.change(decoder.decode(text), given)
        if twin is None:
            return NO_DATA  # type: ignore[return-value] # T is Raw
        text = _encode(twin)
        if mark and mark in text:
            if not self._replaces_halves:
                raise DecodeError("half of a surrogate pair in text that is not a payload")
            text = re.sub(re.escape(mark) + b".{4}", _REPLACEMENT, text)
        value: T = self.strictly(text)
        if mark:
            value = self._payloads.change(value, lambda raw: Raw(bytes(raw).replace(mark_of_payloads, b"\\u")))
        return value


def _marked(text: bytes) -> tuple[bytes, bytes]:
    """The text with a mark in place of each backslash and u before half of a pair; and that mark. Without any, the same
    text and b"".

    The text contains the mark neither in small nor in capital letters. Outside of strings it is not JSON either.
    """
    if b"\\u" not in text:
        return text, b""
    while True:  # hardly ever twice: nobody can foresee the number
        mark = b"~x%07x~" % getrandbits(28)
        if mark not in text and mark.upper() not in text:
            break
    parts: list[bytes] = []
    done = 0
    while half := _UP_TO_HALF(text, done):
        start, end = half.span(1)
        parts.append(text[done:start])
        done = end
    return (mark.join((*parts, text[done:])), mark) if parts else (text, b"")
