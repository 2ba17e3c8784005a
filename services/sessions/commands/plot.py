"""Curves in a terminal: columns of eighths of a block. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

_BLOCKS: Final = " ▁▂▃▄▅▆▇█"
_EIGHTHS: Final = 8
_MARK_EVERY: Final = 12
"""Columns between two marks below the plot, at least, if each column is a value."""
_BETWEEN_WORDS: Final = 3
"""Spaces between two marks of several words, such as "28 Nov 14:00"."""
_BEFORE_END: Final = 2
"""Spaces between such a mark and the mark of the end."""


def condensed(values: Sequence[int], columns: int, join: Callable[[Sequence[int]], int]) -> tuple[list[int], int]:
    """At most `columns` values, and how many of `values` are joined in each of them."""
    size = max(1, -(-len(values) // max(1, columns)))
    return [join(values[start : start + size]) for start in range(0, len(values), size)], size


def curve(values: Sequence[int], marks: Sequence[str], end: str = "", wide: int = 1, height: int = 5) -> list[str]:
    """The lines of a plot, `wide` columns for each value. The greatest value reaches the top; every value but 0 is
    visible.

    `marks` has a text for each value: some of them are printed below. `end` is printed where the last value ends. [] if
    there are no values.
    """
    if not values:
        return []
    most = max(values)
    scale = height * _EIGHTHS / most if most else 0.0
    levels = [max(1, round(value * scale)) if value else 0 for value in values]
    margin = max(len(str(most)), 1)
    lines = []
    for row in range(height - 1, -1, -1):
        label = str(most) if row == height - 1 else "0" if row == 0 else ""
        cells = (_BLOCKS[min(max(level - row * _EIGHTHS, 0), _EIGHTHS)] * wide for level in levels)
        lines.append(f"{label:>{margin}} │{''.join(cells)}".rstrip())
    below = f"{'':{margin}}  {_marks(marks, end, wide)}".rstrip()
    return [*lines, f"{'':{margin}} └{'─' * (len(values) * wide)}", below]


def _marks(marks: Sequence[str], end: str, wide: int) -> str:
    """As many of the marks as there is room for, each where its value begins; and `end` where the last value ends."""
    line, last, edge = "", 0, len(marks) * wide
    gap = _BETWEEN_WORDS if any(" " in mark for mark in marks) else 1
    before_end = min(gap, _BEFORE_END) if end else 0
    apart = _MARK_EVERY if wide == 1 else 0
    for place, mark in enumerate(marks):
        column = place * wide
        has_room = column >= len(line) + gap and column + len(mark) + before_end <= edge
        if not column or (has_room and column - last >= apart):
            line = line.ljust(column) + mark
            last = column
    return line.ljust(max(edge, len(line) + before_end)) + end
