"""A cursor leads back to where its page ended, and to nowhere else."""

from __future__ import annotations

import base64
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
    cursor_of,
    cursor_reader,
)

AT = datetime(2026, 1, 1, tzinfo=UTC)
TIMES = st.datetimes(FIRST_DAY.replace(tzinfo=None), LAST_DAY.replace(tzinfo=None), timezones=st.just(UTC))
TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
PLACES: list[AnyPlace] = [
    Place(AT, "a"),
    ChannelPlace(1, "a"),
    UserPlace(AT, "a"),
    RefusalPlace(AT, 1),
    EdgePlace(AT, "a"),
]


@given(
    st.one_of(
        st.builds(Place, TIMES, TEXTS),
        st.builds(ChannelPlace, st.integers(0, 2**31 - 1), TEXTS),
        st.builds(UserPlace, TIMES, TEXTS),
        st.builds(RefusalPlace, TIMES, st.integers(0, 2**63 - 1)),
        st.builds(EdgePlace, TIMES, TEXTS),
    )
)
def test_a_cursor_leads_back_to_its_place(place: AnyPlace) -> None:
    assert cursor_reader(type(place))(cursor_of(place)) == place


@pytest.mark.parametrize("place", PLACES)
def test_no_question_takes_the_cursor_of_another(place: AnyPlace) -> None:
    for other in PLACES:
        if other is not place:
            with pytest.raises(ValueError, match="`next`"):
                cursor_reader(type(other))(cursor_of(place))


def test_times_beyond_the_calendar_are_those_at_its_ends() -> None:
    for year, end in ((1, FIRST_DAY), (9999, LAST_DAY)):
        at = datetime(year, 1 if year == 1 else 12, 1 if year == 1 else 31, tzinfo=UTC)
        assert cursor_reader(Place)(cursor_of(Place(at, "a"))) == Place(end, "a")


WRONG = [
    ["channels", -1, "a"],
    ["channels", 2**31, "a"],
    ["channels", 1.5, "a"],
    ["channels", 1],
    ["channels", 1, "a", 2],
    ["channels", 1, "a\0"],
    ["channels", 1, "a" * 3000],
    ["sessions", "2026-01-01T00:00:00", "a"],
    ["sessions", "yesterday", "a"],
    [AT, "a"],
    {},
]


@pytest.mark.parametrize("wrong", WRONG)
def test_other_json_is_no_cursor(wrong: object) -> None:
    cursor = base64.urlsafe_b64encode(msgspec.json.encode(wrong)).decode()
    for shape in (Place, ChannelPlace):
        with pytest.raises(ValueError, match="`next`"):
            cursor_reader(shape)(cursor)


@given(st.text())
def test_other_text_is_none_either(text: str) -> None:
    with pytest.raises(ValueError, match="`next`"):
        cursor_reader(Place)(text)
