"""Decodes foreign JSON into structs. msgspec does it; this module adds what msgspec refuses but must be accepted.

- Half of an emoji, `"\\ud83d"`, is JSON by the grammar, and `text.slice(0, 20)` may leave one in JavaScript. A payload
  keeps it as it is. Text that the edge itself reads cannot contain it: such text is refused, as two user ids could look
  the same otherwise, or (`replaces_halves`) gets U+FFFD in its place.
- `null` means the same as leaving the field out. An entry of a map or list is not a field: there it remains an error.
- A text may nest arbitrarily deep: everything below the limit of payloads is cut off before it is decoded (see
  `nesting`), so that neither the text nor Python's version decides about the rest of the message.

Only texts with one of these cost more: all others are decoded once. These cost a few times as much, in time that is
linear in the text: every step is done in C (see `json_nullable`).
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
"""Half of a surrogate pair, and everything before it: other characters, other escapes, and whole pairs."""

_REPLACEMENT: Final = "\ufffd".encode()

_encode = msgspec.json.Encoder().encode


class JsonDecoder(Generic[T]):
    """Decodes JSON texts into `kind`, which may be a struct, or `Raw` for any payload."""

    def __init__(self, kind: type[T] | Any, replaces_halves: bool = False) -> None:
        self._kind = kind
        self._replaces_halves = replaces_halves
        self.strictly = msgspec.json.Decoder(kind).decode
        """What msgspec alone makes of a UTF-8 text. If it raises DecodeError or RecursionError, or leaves a payload
        that is `null`, use `decode`."""

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
        """Whether a payload in `value` is `null`; `strictly` made the value from a text that contains `null`."""
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
                except RecursionError:  # after the place of the previous error
                    pass
            return self._again(*_marked(cut(text)))
        except RecursionError as too_deep:
            raise DecodeError(str(too_deep)) from None

    def _again(self, text: bytes, mark: bytes) -> T:
        """The value of a text, without fields that are `null`, and with its marks turned back into halves of pairs."""
        decoder, payloads = self._twin
        mark_of_payloads = mark.upper()  # `strictly` cannot read halves yet, and other text is treated differently

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
    """The text with a mark in place of each `\\u` before half of a pair; and that mark. Without any half, the same text
    and b"".

    The text contains the mark neither in lower nor in upper case. Outside of strings the mark is not JSON.
    """
    if b"\\u" not in text:
        return text, b""
    while True:  # hardly ever a second round: nobody can predict the number
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
