"""A place is read as PostgreSQL takes it."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.sessions.queries.periods import FIRST_DAY, LAST_DAY
from services.sessions.queries.places import (
    AnyPlace,
    ChannelPlace,
    EdgePlace,
    Place,
    RefusalPlace,
    UserPlace,
    read_place,
)

AT = datetime(2026, 1, 1, tzinfo=UTC)
TIMES = st.datetimes(FIRST_DAY.replace(tzinfo=None), LAST_DAY.replace(tzinfo=None), timezones=st.just(UTC))
TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))


@given(
    st.one_of(
        st.builds(Place, TIMES, TEXTS),
        st.builds(ChannelPlace, st.integers(0, 2**31 - 1), TEXTS),
        st.builds(UserPlace, TIMES, TEXTS),
        st.builds(RefusalPlace, TIMES, st.integers(0, 2**63 - 1)),
        st.builds(EdgePlace, TIMES, TEXTS),
    )
)
def test_a_place_is_read_as_it_was_written(place: AnyPlace) -> None:
    assert read_place(type(place), msgspec.json.encode(place)) == place


def test_times_beyond_the_calendar_are_those_at_its_ends() -> None:
    for year, end in ((1, FIRST_DAY), (9999, LAST_DAY)):
        at = datetime(year, 1 if year == 1 else 12, 1 if year == 1 else 31, tzinfo=UTC)
        assert read_place(Place, msgspec.json.encode(Place(at, "a"))) == Place(end, "a")


WRONG: list[object] = [
    [-1, "a"],
    [2**31, "a"],
    [1.5, "a"],
    [1],
    [1, "a", 2],
    [1, "a\0"],
    [1, "a" * 3000],
    ["2026-01-01T00:00:00", "a"],
    ["yesterday", "a"],
    {},
]


@pytest.mark.parametrize("wrong", WRONG)
def test_other_json_is_no_place(wrong: object) -> None:
    for shape in (Place, ChannelPlace):
        with pytest.raises(ValueError):
            read_place(shape, msgspec.json.encode(wrong))
