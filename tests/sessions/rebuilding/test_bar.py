"""The bar says how far it is and how long it takes, on a terminal in one line, elsewhere a line every 5 s."""

from __future__ import annotations

import pytest

from services.sessions.rebuilding.bar import Bar


@pytest.mark.parametrize(("on_terminal", "lines"), [(True, 10), (False, 2)])
def test_it_tells_at_a_bounded_rate(on_terminal: bool, lines: int):
    now, said = 0.0, list[str]()
    bar = Bar(said.append, on_terminal, lambda: now)
    bar.begin(200)
    for second in range(1, 11):
        now = float(second)
        bar.told(10, 41_000)
        bar.told(0, 0)
    bar.end()
    told = [line for line in said if "facts" in line]
    assert len(told) == lines
    assert told[-1].strip("\r\n").endswith("  50%  410,000 facts, 41,000 a second, 10 s left")
    assert told[-1].count("█") == told[-1].count("░") == 15


def test_more_than_was_expected_is_all_of_it():
    bar = Bar(print, False, lambda: 0.0)
    assert "100%" in bar.line()
    bar.begin(3)
    bar.told(5, 5)
    assert "100%" in bar.line() and "0 s left" in bar.line()
