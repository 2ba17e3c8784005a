"""What `JsonDecoder` knows about a type: its twin, in which every field may be `null`, and the fields that are
payloads.

msgspec decodes a text into the twin, and encodes the twin without the fields that were `null` or absent. That is done
in C; only payloads are examined one by one. Walking over all values in Python takes ten times as long, which a client
could use to hold up an edge.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Callable, Iterator
from typing import Annotated, Any, Final, Union

import msgspec
from msgspec import Raw, Struct, UnsetType
from msgspec.structs import fields, force_setattr

_NULL: Final = b"null"


class PayloadFields:
    """For each struct in a type, the fields that are payloads or contain some. The rest of a value is not examined."""

    def __init__(self, kind: Any) -> None:
        self._names: dict[type[Struct], list[str]] = {}
        structs = {one for one in _within(kind, set()) if struct_of(one) is not None}
        for one in structs:
            names = [field.name for field in fields(one) if Raw in _within(field.type, set())]
            base = struct_of(one)
            if names and base is not None:
                self._names[base] = names

    def has_null(self, value: Any) -> bool:
        """Whether any payload of the value is `null`."""
        kind = type(value)
        if kind is Raw:
            return bytes(value) == _NULL
        if kind is list:
            return any(map(self.has_null, value))
        if kind is dict:
            return any(map(self.has_null, value.values()))
        for name in self._names.get(kind, ()):
            inner = getattr(value, name)
            if inner is not None and self.has_null(inner):
                return True
        return False

    def change(self, value: Any, change: Callable[[Raw], Raw | None]) -> Any:
        """The value with changed payloads; None for a payload that is removed. Its structs are changed in place, even
        frozen ones, so nobody else may use it."""
        kind = type(value)
        if kind is Raw:
            return change(value)
        if kind is list:
            return [self.change(item, change) for item in value]
        if kind is dict:
            return {name: self.change(item, change) for name, item in value.items()}
        for name in self._names.get(kind, ()):
            before = getattr(value, name)
            if before is not None:
                after = self.change(before, change)
                if after is not before:
                    force_setattr(value, name, after)
        return value


def struct_of(kind: Any) -> type[Struct] | None:
    """The struct that an annotation names, with or without type arguments; None if it names none."""
    base = typing.get_origin(kind) or kind
    return base if isinstance(base, type) and issubclass(base, Struct) else None


def nullable(kind: Any) -> Any:
    """The twin of a type, with the same names. Every field of a struct may be `null`, which becomes None, as if
    absent."""
    return _twin(kind, {})


def _twin(kind: Any, made: dict[Any, type[Struct]]) -> Any:
    if struct_of(kind) is not None:
        return made.get(kind) or _struct_twin(kind, made)
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is Annotated:
        return Annotated[(_twin(arguments[0], made), *kind.__metadata__)]
    if origin in (Union, types.UnionType):
        return Union[tuple(_twin(one, made) for one in arguments if one is not UnsetType)]  # noqa: UP007
    if origin in (list, dict):
        return origin[tuple(_twin(one, made) for one in arguments)]
    return kind


def _struct_twin(kind: Any, made: dict[Any, type[Struct]]) -> type[Struct]:
    described = fields(kind)
    config = (typing.get_origin(kind) or kind).__struct_config__
    twin = made[kind] = msgspec.defstruct(
        "Nullable",
        [(field.name, Any, None) for field in described],
        rename={field.name: field.encode_name for field in described},
        tag_field=config.tag_field,
        tag=config.tag,
        omit_defaults=True,
        forbid_unknown_fields=config.forbid_unknown_fields,
    )
    # Set only now, since a filter contains filters. msgspec reads the annotations at the first use.
    twin.__annotations__.update({field.name: _field_twin(field.type, made) for field in described})
    return twin


def _field_twin(kind: Any, made: dict[Any, type[Struct]]) -> Any:
    """The twin of a field's type. A payload may be `null` anyway, which does not become None."""
    return Raw if kind is Raw or Raw in typing.get_args(kind) else Union[_twin(kind, made), None]  # noqa: UP007


def _within(kind: Any, seen: set[Any]) -> set[Any]:
    """All types in an annotation, at any depth, and itself."""
    if kind not in seen:
        seen.add(kind)
        for one in _parts(kind):
            _within(one, seen)
    return seen


def _parts(kind: Any) -> Iterator[Any]:
    if struct_of(kind) is not None:
        yield from (field.type for field in fields(kind))
    elif typing.get_origin(kind) is Annotated:
        yield kind.__origin__
    elif typing.get_origin(kind) is not typing.Literal:
        yield from typing.get_args(kind)
