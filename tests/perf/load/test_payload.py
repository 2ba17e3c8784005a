"""A payload is JSON of the size that was asked for, and its stamp is found again whatever is around it."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from perf.load.payload import MARKER, SMALLEST, payload, stamps

SIZES = st.integers(SMALLEST, 2000)
NUMBERS = st.integers(0, 10**9 - 1)
TIMES = st.integers(0, 2**63 - 1)


@given(SIZES, NUMBERS, TIMES)
def test_it_is_json_of_the_size_that_was_asked_for(size: int, number: int, due_ns: int) -> None:
    data = payload(size, number, due_ns)
    assert len(data) == size
    assert list(json.loads(data)) == ["v"]
    assert data.count(MARKER) == 1


@given(st.lists(st.tuples(TIMES, NUMBERS), max_size=5))
def test_stamps_are_read_from_whatever_a_system_makes_of_it(stamped: list[tuple[int, int]]) -> None:
    wrapped = [f'42["m", {json.dumps(json.loads(payload(64, number, due)))}]' for due, number in stamped]
    assert list(stamps("\n".join(wrapped).encode())) == stamped
