"""Decodes the JSON of others into structs. msgspec does it; this module adds what it refuses and must not.

- Half of an emoji, `"\\ud83d"`, is JSON by the grammar, and what `text.slice(0, 20)` leaves in JavaScript. A payload
  keeps it as it is. Text that the edge reads itself cannot have it: it is refused, as two user ids could look the same
  otherwise, or (`replaces_halves`) has U+FFFD in its place.
- `null` is the same as a field that is left out. An entry of a map or list is no field: there it stays an error.
- A text may nest as deep as it likes: whatever lies below the limit of payloads is cut off before it is decoded (see
  `nesting`), so that neither the text nor Python's version decides about the rest of the message.

All of it costs only texts that have one of these: others are decoded once.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cached_property
from hashlib import blake2s
from typing import Any, Final, Generic, TypeVar

import msgspec
from msgspec import UNSET, DecodeError, Raw, Struct, ValidationError, inspect
from msgspec.structs import fields, replace

from proto.messages import NO_DATA
from proto.nesting import cut

T = TypeVar("T")

_NULL: Final = b"null"

_ESCAPE: Final = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|u([dD][89a-fA-F][0-9a-fA-F]{2})|.)", re.DOTALL
)
"""An escape in a string: a pair of surrogates, half of a pair (group 1), or any other."""

_members = msgspec.json.Decoder(dict[str, Raw]).decode
_items = msgspec.json.Decoder(list[Raw]).decode
_encode = msgspec.json.Encoder().encode


class JsonDecoder(Generic[T]):
    """Decodes JSON texts into `kind`, which may be a struct, or `Raw` for any payload."""

    def __init__(self, kind: type[T] | Any, replaces_halves: bool = False) -> None:
        self._kind = kind
        self._replaces_halves = replaces_halves
        self.strictly = msgspec.json.Decoder(kind).decode
        """What msgspec alone makes of a text that is UTF-8. Where it raises DecodeError or RecursionError, and for a
        text with `null`, `decode` has the answer."""

    @cached_property
    def _type(self) -> inspect.Type:
        return inspect.type_info(self._kind)

    def decode(self, text: bytes) -> T:
        """The value. Raises DecodeError, and nothing else, for what is not JSON in UTF-8, or not of this kind."""
        try:
            if not text.isascii():
                text.decode()
            value: T = self.strictly(text)
        except UnicodeDecodeError as error:
            raise DecodeError(str(error)) from None
        except (DecodeError, RecursionError):
            return self._leniently(text)
        return without_nulls(value) if _NULL in text else value

    def _leniently(self, text: bytes) -> T:
        text = cut(text)
        mark = b""
        if b"\\u" in text:
            text, mark = _marked(text)
        try:
            try:
                value: T = self.strictly(text)
            except ValidationError:
                if _NULL not in text:
                    raise
                value = self.strictly(_without_null_fields(self._type, text))
        except RecursionError as error:
            raise DecodeError(str(error)) from None
        if mark:
            value = _unmarked(value, mark, self._replaces_halves)
        return without_nulls(value) if _NULL in text else value


# --- half of an emoji -----------------------------------------------------------------------------------------------


def _marked(text: bytes) -> tuple[bytes, bytes]:
    """The text with a mark in place of each backslash and u before half of a pair; and that mark, b"" without any.

    The mark is a hash of the text, so that no text contains its own. Outside of strings it is not JSON either.
    """
    mark = b"~%s~" % blake2s(text, digest_size=16).hexdigest().encode()
    marked = _ESCAPE.sub(lambda escape: mark + escape[1] if escape[1] else escape[0], text)
    return marked, mark if len(marked) > len(text) else b""


def _unmarked(value: Any, mark: bytes, replaces_halves: bool) -> Any:
    """The value of a marked text: payloads as they were, and U+FFFD in other strings. Raises DecodeError."""
    halves = re.compile(re.escape(mark.decode()) + ".{4}")

    def text(string: str) -> str:
        replaced, count = halves.subn("\ufffd", string)
        if count and not replaces_halves:
            raise DecodeError("half of a surrogate pair in text that is not a payload")
        return replaced if count else string

    return _changed(value, lambda raw: Raw(bytes(raw).replace(mark, b"\\u")), text)


# --- null -----------------------------------------------------------------------------------------------------------


def without_nulls(value: T) -> T:
    """The value in which no payload is `null`."""
    changed: T = _changed(value, lambda raw: NO_DATA if bytes(raw) == _NULL else raw, str)
    return changed


def _without_null_fields(kind: inspect.Type, text: bytes) -> bytes:
    """The text of a value of this kind without fields that are `null`. Payloads are not read, and stay as they are."""
    if isinstance(kind, inspect.UnionType):
        shapes = (inspect.ListType,) if text.startswith(b"[") else (inspect.StructType, inspect.DictType)
        kind = next((each for each in kind.types if isinstance(each, shapes)), kind)
    if isinstance(kind, inspect.ListType):
        return b"[%s]" % b",".join([_without_null_fields(kind.item_type, bytes(item)) for item in _items(text)])
    if isinstance(kind, inspect.StructType | inspect.DictType):
        return b"{%s}" % b",".join(_given(kind, _members(text)))
    return text


def _given(kind: inspect.StructType | inspect.DictType, members: dict[str, Raw]) -> Iterator[bytes]:
    kinds = {field.encode_name: field.type for field in kind.fields} if isinstance(kind, inspect.StructType) else {}
    for name, member in members.items():
        value = bytes(member)
        if value != _NULL or isinstance(kind, inspect.DictType):
            of = kind.value_type if isinstance(kind, inspect.DictType) else kinds.get(name)
            yield _encode(name) + b":" + (value if of is None else _without_null_fields(of, value))


# --- both -----------------------------------------------------------------------------------------------------------


def _changed(value: Any, raw: Any, text: Any) -> Any:
    """The value with its payloads and its strings changed by `raw` and `text`."""
    if isinstance(value, Raw):
        return raw(value)
    if isinstance(value, str):
        return text(value)
    if isinstance(value, list):
        return [_changed(item, raw, text) for item in value]
    if isinstance(value, dict):
        return {text(name): _changed(item, raw, text) for name, item in value.items()}
    if isinstance(value, Struct):
        return _changed_struct(value, raw, text)
    return value


def _changed_struct(value: Struct, raw: Any, text: Any) -> Struct:
    new: dict[str, Any] = {}
    for name in value.__struct_fields__:
        before = getattr(value, name)
        if before is not None and before is not NO_DATA:
            after = _changed(before, raw, text)
            if after is not before:
                new[name] = after
    if not new:
        return value
    if any(after is NO_DATA for after in new.values()):
        new.update(
            (field.name, UNSET) for field in fields(value) if field.default is UNSET and new.get(field.name) is NO_DATA
        )
    return replace(value, **new)
