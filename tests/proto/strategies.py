"""Hypothesis strategies for any struct of the contract, from its field types."""

from __future__ import annotations

import types
import typing
from typing import Any, TypeVar

import msgspec
from hypothesis import strategies as st
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from proto.messages import NO_DATA

S = TypeVar("S", bound=Struct)

_RAWS = [Raw(b"null"), Raw(b"1"), Raw(b'{"a":[1,"\\n"]}'), Raw('"grüße"'.encode())]


def structs(kind: type[S]) -> st.SearchStrategy[S]:
    """Any valid value of the struct `kind`."""
    return st.builds(
        kind,
        **{
            field.name: st.just(NO_DATA) | _values(field.type) if field.default is NO_DATA else _values(field.type)
            for field in msgspec.structs.fields(kind)
        },
    )


def _values(kind: Any, bounds: Meta | None = None) -> st.SearchStrategy[Any]:
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Annotated:
        return _values(args[0], args[1])
    if origin in (typing.Union, types.UnionType):
        return st.one_of(*map(_values, args))
    if origin is list:
        return st.lists(_values(args[0]), max_size=3)
    if origin is dict:
        return st.dictionaries(_values(args[0]), _values(args[1]), max_size=3)
    if isinstance(kind, type) and issubclass(kind, Struct):
        return structs(kind)
    if kind is int:
        least, most = (bounds.ge, bounds.le) if bounds else (None, None)
        return st.integers(-(2**63) if least is None else int(least), 2**64 - 1 if most is None else int(most))
    simple: dict[Any, st.SearchStrategy[Any]] = {
        str: st.text(max_size=12),
        bool: st.booleans(),
        float: st.floats(allow_nan=False, allow_infinity=False),
        Raw: st.sampled_from(_RAWS),
        UnsetType: st.just(UNSET),
        types.NoneType: st.none(),
    }
    return simple[kind]
