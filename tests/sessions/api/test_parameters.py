"""Parameters are read as they are described, and refused with what is expected."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.sessions.api.parameters import (
    AT,
    LIMIT,
    STATE,
    BadParameter,
    interval,
    moment,
    read_all,
    some_of,
    written,
)


def test_values_have_their_types() -> None:
    values = read_all([("limit", "7"), ("at", "2026-11-29T14:02:00+02:00"), ("state", "away")], (LIMIT, AT, STATE))
    assert values == {"limit": 7, "at": datetime(2026, 11, 29, 12, 2, tzinfo=UTC), "state": "away"}


@pytest.mark.parametrize(
    ("given", "parameter", "says"),
    [
        ([("limit", "7"), ("limit", "8")], "limit", "once"),
        ([("limti", "7")], "limti", "expected at, limit, state"),
        ([("at", "2026-11-29T14:02:00")], "at", "with its zone"),
        ([("at", "2026-11-29")], "at", "with its zone"),
        ([("at", "yesterday")], "at", "with its zone"),
        ([("limit", "\u0661")], "limit", "between 1 and 1000"),
    ],
)
def test_a_wrong_one_is_refused_by_name(given: list[tuple[str, str]], parameter: str, says: str) -> None:
    with pytest.raises(BadParameter, match=says) as refused:
        read_all(given, (LIMIT, AT, STATE))
    assert refused.value.parameter == parameter


@given(st.datetimes(timezones=st.timezones()))
def test_any_time_of_the_calendar_is_read(at: datetime) -> None:
    try:
        expected = at.astimezone(UTC)
    except OverflowError:
        return
    if 1 < expected.year < 9999:
        assert moment(at.isoformat()) == expected


@given(st.text())
def test_text_that_is_no_time_is_refused(value: str) -> None:
    try:
        assert moment(value).tzinfo is UTC
    except ValueError as error:
        assert "expected a time" in str(error)


def test_intervals_are_whole_minutes() -> None:
    assert [interval(value) for value in ("1m", "90m", "1h", "2d", "120s")] == [60, 5400, 3600, 172_800, 120]
    for wrong in ("", "0m", "90s", "1w", "367d", "1h ", "-1h", "99999999d"):
        with pytest.raises(ValueError, match="whole minutes"):
            interval(wrong)


def test_some_of_several_names() -> None:
    assert some_of("a", "b", "c")("c,a") == ("c", "a")
    for wrong in ("", "a,a", "d", "a,"):
        with pytest.raises(ValueError, match="each once"):
            some_of("a", "b", "c")(wrong)


@pytest.mark.parametrize(("value", "text"), [("x", "x"), (7, "7"), (["edge", "user"], "edge,user")])
def test_json_is_written_as_in_a_url(value: Any, text: str) -> None:
    assert written(value) == text


@pytest.mark.parametrize("value", [None, True, 1.5, {}, [1], [["x"]]])
def test_other_json_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="expected text"):
        written(value)
