"""What the log dropped before it was folded: not what was deleted in its midst, nor what was before anybody came."""

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
    ("stretches", "begins", "found"),
    [
        ([Overtaken(5, 7)], 8, ((5, 7),)),
        ([Overtaken(5, 7)], 6, ((5, 5),)),
        ([Overtaken(5, 7)], 5, ()),
        ([Overtaken(6, 7), Overtaken(10, 11)], 8, ((6, 7),)),
        ([Overtaken(1, 7), Overtaken(9, 9)], 12, ((9, 9),)),
    ],
)
def test_what_the_log_dropped_is_before_its_beginning(
    stretches: list[Overtaken], begins: int, found: tuple[Overtaken, ...]
):
    assert overtaken(stretches, begins) == found
