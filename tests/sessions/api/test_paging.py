"""A cursor leads back to where its page ended in a list, and to nowhere else."""

from __future__ import annotations

import base64
from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.sessions.api.paging import OF_ANOTHER_LIST, OF_OTHER_FILTERS, Paged
from services.sessions.api.parameters import AT, EDGE, FROM, USER, BadParameter, Values, read_all
from services.sessions.queries.places import Place

AT_NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
PLACE = Place(AT_NOON, "a")
LIST = Paged("sessions", Place, (USER, EDGE, FROM))


def values(**given: str) -> Values:
    return read_all(given.items(), (USER, EDGE, FROM, AT, LIST.cursor))


FILTERED = [{}, {"user": "ann"}, {"user": ""}, {"user": "ann", "edge": "e"}, {"from": "2026-01-01T00:00:00Z"}]


@pytest.mark.parametrize("filters", FILTERED)
def test_a_cursor_leads_back_to_its_place_with_its_filters_only(filters: dict[str, str]) -> None:
    cursor = LIST.cursor_at(values(**filters), PLACE)
    assert LIST.after(values(**filters, cursor=cursor)) == PLACE
    for others in FILTERED:
        if others is not filters:
            with pytest.raises(BadParameter, match=OF_OTHER_FILTERS) as refused:
                LIST.after(values(**others, cursor=cursor))
            assert refused.value.parameter == "cursor"


def test_filters_are_the_same_however_they_are_written_and_ordered() -> None:
    cursor = LIST.cursor_at(values(user="ann", **{"from": "2026-01-01T00:00:00Z"}), PLACE)
    assert LIST.after(values(**{"from": "2026-01-01T01:00:00+01:00"}, user="ann", cursor=cursor)) == PLACE


def test_what_is_no_filter_may_be_named_from_the_second_page_on() -> None:
    cursor = LIST.cursor_at(values(), PLACE)
    assert LIST.after(values(at="2026-01-01T12:00:00Z", cursor=cursor)) == PLACE


def test_no_list_takes_the_cursor_of_another() -> None:
    other = Paged("who", Place, (USER, EDGE, FROM))
    with pytest.raises(BadParameter, match=OF_ANOTHER_LIST):
        values(cursor=other.cursor_at(values(), PLACE))


def test_the_last_page_has_no_next() -> None:
    rows = ["a", "b", "c"]
    assert LIST.next_page(values(), rows, 3, lambda row: Place(AT_NOON, row)) is None
    cursor = LIST.next_page(values(), rows, 2, lambda row: Place(AT_NOON, row))
    assert cursor is not None and LIST.after(values(cursor=cursor)) == Place(AT_NOON, "b")


PLACED = [AT_NOON, "a"]
WRONG: list[object] = [
    ["sessions", AT_NOON, "a"],
    ["sessions", "", PLACED, 1],
    ["sessions", ""],
    ["sessions", "", [AT_NOON]],
    ["sessions", "", ["yesterday", "a"]],
    [1, "", PLACED],
    PLACED,
    {},
]


@pytest.mark.parametrize("wrong", WRONG)
def test_other_json_is_no_cursor(wrong: object) -> None:
    with pytest.raises(BadParameter, match="`next`"):
        values(cursor=base64.urlsafe_b64encode(msgspec.json.encode(wrong)).decode())


def test_nor_is_json_without_an_end() -> None:
    with pytest.raises(BadParameter, match="`next`"):
        values(cursor=base64.urlsafe_b64encode(b'["sessions","",' + b"[" * 100_000).decode())


@given(st.text())
def test_other_text_is_none_either(text: str) -> None:
    with pytest.raises(BadParameter):
        values(cursor=text)
