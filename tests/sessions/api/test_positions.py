"""Which rows have a position, and which never will."""

from __future__ import annotations

import pytest

from services.sessions.api.positions import Standing, position_of, position_text
from services.sessions.store import ORIGIN, Position

ROWS = Standing(Position("e", 5), "mark")


@pytest.mark.parametrize(
    ("rows", "wanted", "has", "of_another_log"),
    [
        (ROWS, Position("e", 5), True, False),
        (ROWS, Position("e", 6), False, False),
        (ROWS, Position("f", 5), False, True),
        (ROWS, Position("f", 6), False, True),
        (ROWS, ORIGIN, True, False),
        (Standing(ORIGIN, ""), Position("e", 1), False, False),
    ],
)
def test_rows_have_a_position_of_their_own_log_alone(
    rows: Standing, wanted: Position, has: bool, of_another_log: bool
) -> None:
    assert (rows.has(wanted), rows.is_of_another_log(wanted)) == (has, of_another_log)


@pytest.mark.parametrize("position", [ORIGIN, Position("e", 5), Position("a:b", 10**18 - 1)])
def test_a_position_is_read_as_it_is_written(position: Position) -> None:
    assert position_of(position_text(position)) == position
