"""How a table fits a terminal: ids are cut to what tells them apart, the longest cell is printed below its row, or all
cells below each other. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Final

from rich.cells import cell_len, chop_cells

GAP: Final = 2
"""Spaces between two columns."""
INDENT: Final = 4
"""Spaces before text below a row, or below a heading."""
_SHORTEST: Final = 8
"""The least that is left of an id."""

Rows = Sequence[Sequence[str]]


def widths(columns: Sequence[str], rows: Rows) -> list[int]:
    """The terminal cells that each column needs."""
    return [max(map(cell_len, cells)) for cells in zip(columns, *rows, strict=True)]


def width(columns: Sequence[str], rows: Rows) -> int:
    """The terminal cells that the table needs."""
    return sum(widths(columns, rows)) + GAP * (len(columns) - 1)


def shortened(rows: Rows, places: Collection[int]) -> list[list[str]]:
    """The rows, with the ids in each of these columns cut to a beginning that tells them apart."""
    cut = {place: _length([row[place] for row in rows]) for place in places}
    return [[cell[: cut.get(place, len(cell))] for place, cell in enumerate(row)] for row in rows]


def _length(ids: Sequence[str]) -> int:
    different = set(ids)
    length, longest = _SHORTEST, max(map(len, ids), default=0)
    while length < longest and len({one[:length] for one in different}) < len(different):
        length += 1
    return length


def without(cells: Sequence[str], place: int) -> list[str]:
    """All but one of them."""
    return [*cells[:place], *cells[place + 1 :]]


def stacked(columns: Sequence[str], rows: Rows, numbers: Collection[int], below: int, most: int) -> list[str]:
    """The lines of a table of at most `most` terminal cells, with the column at the place `below` below each row. The
    first line is the head. [] if there is no room for the other columns beside each other."""
    heads, beside = without(columns, below), [without(row, below) for row in rows]
    if width(heads, beside) > most:
        return []
    right = {place - (place > below) for place in numbers}
    room = widths(heads, beside)
    lines = [_line(heads, room, right)]
    for row, short in zip(rows, beside, strict=True):
        lines.append(_line(short, room, right))
        lines += [" " * INDENT + line for line in wrapped(row[below], most - INDENT)]
    return lines


def listed(columns: Sequence[str], rows: Rows, most: int) -> list[str]:
    """The lines of rows whose cells are below each other, each after the name of its column, with an empty line between
    two rows. Empty cells are left out."""
    names = max(map(cell_len, columns), default=0) + GAP
    lines: list[str] = []
    for row in rows:
        lines += [""] * bool(lines)
        for name, cell in zip(columns, row, strict=True):
            if not cell:
                continue
            room = max(2, most - names)
            first, *more = [cell] if cell_len(cell) <= room else wrapped(cell, room)
            lines.append(name + " " * (names - cell_len(name)) + first)
            lines += [" " * names + line for line in more]
    return lines


def _line(cells: Sequence[str], room: Sequence[int], right: Collection[int]) -> str:
    padded = []
    for place, (cell, most) in enumerate(zip(cells, room, strict=True)):
        space = " " * (most - cell_len(cell))
        padded.append(space + cell if place in right else cell + space)
    return (" " * GAP).join(padded).rstrip()


def wrapped(text: str, most: int) -> Iterator[str]:
    """The text in lines of at most `most` terminal cells, broken between words; a longer word is split."""
    line = ""
    for word in text.split():
        if line and cell_len(line) + 1 + cell_len(word) <= most:
            line += " " + word
            continue
        if line:
            yield line
        *whole, line = chop_cells(word, most)
        yield from whole
    if line:
        yield line
