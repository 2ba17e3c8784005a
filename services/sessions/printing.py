"""How the commands of the service print: for a terminal, without control characters, or for a script."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence

import msgspec


def to_reader(work: Callable[[], bool]) -> bool:
    """The result of `work`, which prints. Exits with 1 if the reader of the output has closed it, as `head` does."""
    try:
        done = work()
        sys.stdout.flush()
    except BrokenPipeError:  # the interpreter would flush once more at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    return done


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]], if_none: str) -> None:
    """Prints the rows under the names of their columns, or `if_none`."""
    widths = [max(map(len, column)) for column in zip(columns, *rows, strict=True)]
    for row in (columns, *rows) if rows else ():
        print_line("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    if not rows:
        print_line(if_none)


def print_line(line: str) -> None:
    """Prints one line."""
    sys.stdout.write(line + "\n")


def print_json(what: object) -> None:
    """Prints it as one line of JSON."""
    print_line(msgspec.json.encode(what).decode())


def readable(data: bytes) -> str:
    """JSON with indentation, and anything else as it is, without control characters."""
    try:
        text = msgspec.json.format(data, indent=2).decode()
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        text = data.decode(errors="backslashreplace")
    return "\n".join(map(printable, text.split("\n")))


def printable(text: str) -> str:
    """The text with its control characters written out."""
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)
