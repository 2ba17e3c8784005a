"""Hypothesis strategies for any struct of the contract, from its field types."""

from __future__ import annotations

import types
import typing
from typing import Any, TypeVar

import msgspec
from hypothesis import strategies as st
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from proto import commands, replies
from proto.messages import NO_DATA

S = TypeVar("S", bound=Struct)

JSON_PAYLOADS = [Raw(b"[null]"), Raw(b"1"), Raw(b'{"a":[1,"\\n"]}'), Raw('"grüße"'.encode())]
ANY_PAYLOADS = [*JSON_PAYLOADS, NO_DATA, Raw(b"\xff\x00\n"), Raw(b"x" * 200)]

_ENVELOPES = (commands.Command, replies.Push, replies.Reply)


def structs(kind: type[S], payloads: list[Raw] = JSON_PAYLOADS) -> st.SearchStrategy[S]:
    """Any valid value of the struct `kind`, with some of `payloads` as application data."""
    return _structs(kind, payloads, ())


def _structs(kind: type[S], payloads: list[Raw], around: tuple[type, ...]) -> st.SearchStrategy[S]:
    def values(field: Any) -> st.SearchStrategy[Any]:
        strategy = _values(field.type, payloads, (*around, kind))
        return st.just(field.default) | strategy if field.default in (None, NO_DATA) else strategy

    fields = {field.name: values(field) for field in msgspec.structs.fields(kind)}
    if kind in _ENVELOPES:  # with everything at once they get too big to be tried often: two messages at most
        pairs = st.lists(st.sampled_from(sorted(fields)), max_size=2, unique=True)
        return pairs.flatmap(lambda names: st.builds(kind, **{name: fields[name] for name in names}))
    return st.builds(kind, **fields)


def _values(kind: Any, payloads: list[Raw], around: tuple[type, ...]) -> st.SearchStrategy[Any]:
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Annotated:
        return _numbers(args[1])
    if origin in (typing.Union, types.UnionType):
        return st.one_of(*(_values(one, payloads, around) for one in args))
    if origin is list:
        nested_enough = around.count(args[0]) >= 3
        return st.just([]) if nested_enough else st.lists(_values(args[0], payloads, around), max_size=3)
    if origin is dict:
        return st.dictionaries(*(_values(one, payloads, around) for one in args), max_size=3)
    if isinstance(kind, type) and issubclass(kind, Struct):
        return _structs(kind, payloads, around)
    simple: dict[Any, st.SearchStrategy[Any]] = {
        str: st.text(max_size=12),
        bool: st.booleans(),
        int: st.integers(-(2**63), 2**63 - 1),
        float: st.floats(allow_nan=False, allow_infinity=False),
        Raw: st.sampled_from(payloads),
        UnsetType: st.just(UNSET),
        types.NoneType: st.none(),
    }
    return simple[kind]


def _numbers(bounds: Meta) -> st.SearchStrategy[int]:
    least, most = bounds.ge, bounds.le
    return st.integers(-(2**63) if least is None else int(least), 2**64 - 1 if most is None else int(most))
