"""Curves in a terminal: columns of eighths of a block. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

_BLOCKS: Final = " ▁▂▃▄▅▆▇█"
_EIGHTHS: Final = 8
_MARK_EVERY: Final = 12
"""Columns between two marks of the lower edge, at least."""


def condensed(values: Sequence[int], columns: int, join: Callable[[Sequence[int]], int]) -> tuple[list[int], int]:
    """At most `columns` values, each of which stands for as many of `values` as the second result says, joined."""
    size = max(1, -(-len(values) // max(1, columns)))
    return [join(values[start : start + size]) for start in range(0, len(values), size)], size


def curve(values: Sequence[int], marks: Sequence[str], height: int = 5) -> list[str]:
    """The lines of a plot, a column for each value; the greatest one reaches the top, and any other than 0 is seen.

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
        cells = (_BLOCKS[min(max(level - row * _EIGHTHS, 0), _EIGHTHS)] for level in levels)
        lines.append(f"{label:>{margin}} │{''.join(cells)}".rstrip())
    return [*lines, f"{'':{margin}} └{'─' * len(values)}", f"{'':{margin}}  {_marks(marks)}".rstrip()]


def _marks(marks: Sequence[str]) -> str:
    """As many of the texts as have room, each where its column begins."""
    line = ""
    last = -_MARK_EVERY
    for column, mark in enumerate(marks):
        if column - last >= _MARK_EVERY and (column + len(mark) <= len(marks) or not column):
            line = line.ljust(column) + mark
            last = column
    return line
