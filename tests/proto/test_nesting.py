"""How deep a payload nests, for any bytes, and what is left of a text without its deepest levels."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from proto.codec import is_too_deep
from proto.nesting import CUT_BELOW, MAX_NESTING, cut, nesting
from tests.proto.test_codec import json_values

FEW = settings(max_examples=100, deadline=None)

SHAPES = [(b"[", b"]"), (b'{"a":', b"}"), (b'[ 1, "]",{"b\\"[":', b"}]")]


def nested(levels: int, opens: bytes = b"[", closes: bytes = b"]") -> bytes:
    """JSON that nests so many levels; `opens` may open several."""
    times = levels // nesting(opens + b"1" + closes)
    return opens * times + b"1" + closes * times


def depth_of(value: Any) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if inner is None else 1 + max(map(depth_of, inner), default=0)


@FEW
@given(json_values, st.sampled_from([None, 1]))
@example('[[["{', None)
@example({"\\": ["\\\\", {'"[': []}]}, None)
def test_levels_are_those_of_arrays_and_objects_not_of_strings(value: object, indent: int | None) -> None:
    assert nesting(json.dumps(value, indent=indent).encode()) == depth_of(value)


@pytest.mark.parametrize(("opens", "closes"), SHAPES)
def test_the_limit_is_met_at_the_same_level_whatever_nests(opens: bytes, closes: bytes) -> None:
    assert not is_too_deep(nested(MAX_NESTING, opens, closes))
    assert is_too_deep(nested(MAX_NESTING + 2, opens, closes))
    assert is_too_deep(nested(100_000, opens, closes)), "also where no Python reads it"


@pytest.mark.parametrize("data", [b"[" * 5000, b"]" * 5000, b"\xff" + nested(500), b'"' + b"[]" * 500, b"[]" * 500])
def test_bytes_that_are_not_json_do_not_nest(data: bytes) -> None:
    assert not is_too_deep(data)


def test_many_values_beside_each_other_are_not_deep() -> None:
    assert not is_too_deep(b"[" + b",".join([b'{"a":[[]]}'] * 1000) + b"]")


@FEW
@given(st.binary(max_size=60) | st.lists(st.sampled_from([*b'{}[]"\\:,1']), max_size=60).map(bytes))
@example(b'"' + b'\\"' * 1000)
def test_any_bytes_have_an_answer(data: bytes) -> None:
    assert nesting(data) >= 0
    assert cut(data) == data, "nothing is so deep"


@pytest.mark.parametrize("levels", [CUT_BELOW + 1, 1000, 100_000])
def test_a_text_without_its_deepest_levels_can_be_read_and_is_still_too_deep(levels: int) -> None:
    text = b'{"id":1,"data":' + nested(levels) + b',"other":[' + nested(levels, b'{"":', b"}") + b',"x"]}'
    left = json.loads(cut(text))
    assert left["id"] == 1 and left["other"][1] == "x"
    assert depth_of(left) == CUT_BELOW
    assert is_too_deep(json.dumps(left["data"]).encode())
