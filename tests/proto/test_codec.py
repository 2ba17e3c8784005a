"""Payloads to embeddable values, for any bytes."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proto.codec import payload

FEW = settings(max_examples=100, deadline=None)

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=8,
)


@FEW
@given(json_values, st.sampled_from([None, 1, "\t"]), st.booleans())
def test_a_payload_keeps_its_value_and_loses_its_line_breaks(
    value: object, indent: int | str | None, crlf: bool
) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=not crlf)
    embedded = bytes(payload(text.replace("\n", "\r\n").encode() if crlf else text.encode()))
    assert b"\n" not in embedded
    assert b"\r" not in embedded
    assert json.loads(embedded) == value


@pytest.mark.parametrize("data", [b"1", b'  {"a" : [ 1 ]}', b'"\\n"', b"1.50", b"-0", b"1e400", b"9" * 5000])
def test_a_payload_without_line_breaks_is_handed_on_byte_for_byte(data: bytes) -> None:
    assert bytes(payload(data)) == data


@pytest.mark.parametrize(
    "data", [b"", b" ", b"hello", b"01", b"1 2", b"{1:2}", b'"\xff"', b'"a\nb"', b"[" * 100_000, b"NaN"]
)
def test_bytes_that_are_not_json_are_not_a_payload(data: bytes) -> None:
    with pytest.raises(ValueError, match="not JSON"):
        payload(data)
