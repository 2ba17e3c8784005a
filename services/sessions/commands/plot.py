"""Curves in a terminal: columns of eighths of a block. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

_BLOCKS: Final = " ▁▂▃▄▅▆▇█"
_EIGHTHS: Final = 8
_MARK_EVERY: Final = 12
"""Columns between two marks of the lower edge, at least, if each is a value."""


def condensed(values: Sequence[int], columns: int, join: Callable[[Sequence[int]], int]) -> tuple[list[int], int]:
    """At most `columns` values, each of which stands for as many of `values` as the second result says, joined."""
    size = max(1, -(-len(values) // max(1, columns)))
    return [join(values[start : start + size]) for start in range(0, len(values), size)], size


def curve(values: Sequence[int], marks: Sequence[str], wide: int = 1, height: int = 5) -> list[str]:
    """The lines of a plot, `wide` columns for each value; the greatest one reaches the top, and any but 0 is seen.

    `marks` has a text for each value: some of them stand below. [] if there are no values.
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
    below = f"{'':{margin}}  {_marks(marks, wide)}".rstrip()
    return [*lines, f"{'':{margin}} └{'─' * (len(values) * wide)}", below]


def _marks(marks: Sequence[str], wide: int) -> str:
    """As many of the texts as have room, each where its value begins."""
    line, last = "", -_MARK_EVERY
    for place, mark in enumerate(marks):
        column = place * wide
        apart = max(len(mark) + 1, _MARK_EVERY if wide == 1 else 0)
        if not column or (column - last >= apart and column + len(mark) <= len(marks) * wide):
            line = line.ljust(column) + mark
            last = column
    return line
