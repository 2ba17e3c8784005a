"""Messages that are gone between others: erased, or lost because of their age."""

from __future__ import annotations

import pytest

from services.sessions.entries import Entry
from services.sessions.rebuilding.gaps import Gaps


def entries(*sequences: int) -> list[Entry]:
    return [Entry(one, b"", "i", None, stored_at=one * 10) for one in sequences]


@pytest.mark.parametrize(
    ("there", "begins", "missing", "lost", "whole_since"),
    [
        (range(1, 9), 1, 0, 0, 0),
        (range(3, 9), 3, 0, 0, 0),
        ([1, 2, 4, 8], 1, 4, 0, 0),
        ([1, 2, 3, 7, 8, 11], 7, 2, 3, 70),
        ([1, 3, 9], 6, 3, 3, 90),
        ([1, 2, 5], None, 0, 2, 50),
        ([], 4, 0, 0, 0),
    ],
)
@pytest.mark.parametrize("portion", [1, 2, 9])
def test_they_are_counted_once_however_the_log_is_read(
    there, begins: int | None, missing: int, lost: int, whole_since: int, portion: int
) -> None:
    gaps, told = Gaps(), entries(*there)
    for at in range(0, len(told), portion):
        gaps.saw(told[at : at + portion], begins)
    assert (gaps.missing, gaps.lost, gaps.whole_since) == (missing, lost, whole_since)


def test_another_log_begins_where_it_begins() -> None:
    gaps = Gaps()
    gaps.saw(entries(1, 2), None)
    gaps.begin()
    gaps.saw(entries(7, 8), 7)
    assert (gaps.missing, gaps.lost) == (0, 0)
