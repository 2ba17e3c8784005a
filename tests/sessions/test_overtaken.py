"""Messages that went from the log before they were folded: not those that an old log lacked when it was first read."""

from __future__ import annotations

import pytest

from services.sessions.entries import Entry
from services.sessions.overtaken import Overtaken, missing, overtaken


def entries(*sequences: int) -> list[Entry]:
    return [Entry(one, b"", "i", None) for one in sequences]


@pytest.mark.parametrize(
    ("start", "there", "stretches"),
    [
        (5, (), []),
        (5, (5, 6, 7), []),
        (5, (8, 9), [(5, 7)]),
        (5, (5, 8, 9, 12), [(6, 7), (10, 11)]),
    ],
)
def test_what_is_missing_before_and_between_messages(start: int, there: tuple[int, ...], stretches: list[Overtaken]):
    assert missing(start, entries(*there)) == stretches


@pytest.mark.parametrize(
    ("stretches", "begins", "known_upto", "found"),
    [
        ([Overtaken(5, 7)], 8, 20, ((5, 7),)),
        ([Overtaken(5, 7)], 6, 20, ((5, 5),)),
        ([Overtaken(5, 7)], 5, 20, ()),
        ([Overtaken(6, 7), Overtaken(10, 11)], 8, 20, ((6, 7),)),
        ([Overtaken(1, 7), Overtaken(9, 9)], 12, 20, ((9, 9),)),
        ([Overtaken(5, 7)], 5, 0, ((5, 7),)),
        ([Overtaken(5, 7), Overtaken(9, 9)], 1, 7, ((9, 9),)),
        ([Overtaken(1, 7)], 8, 0, ()),
    ],
)
def test_what_an_old_log_lacked_in_its_middle_when_it_was_first_read_does_not_count(
    stretches: list[Overtaken], begins: int, known_upto: int, found: tuple[Overtaken, ...]
):
    assert overtaken(stretches, begins, known_upto) == found
