"""Sessions as files: CSV for spreadsheets, JSON lines for programs. Pure.

Every file ends with a line that says that it is complete, with the number of sessions, or with one that says why it
broke off. A file without either was cut off.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, Protocol

import msgspec

from services.sessions.api.views import SessionView

FIELDS: Final = tuple(field.name for field in msgspec.structs.fields(SessionView))

END: Final = "#end"
ERROR: Final = "#error"
"""The last line of CSV begins with one of these."""

_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "'")
"""What a spreadsheet takes for the beginning of a formula; and the apostrophe, which prevents that."""


class Format(Protocol):
    """Writes a file, piece by piece."""

    media_type: str

    def head(self) -> bytes:
        """The beginning."""

    def rows(self, sessions: Sequence[SessionView]) -> bytes:
        """Some sessions."""

    def end(self, count: int, position: str) -> bytes:
        """The end of a complete file: `count` sessions, from rows that had reached `position`."""

    def error(self, why: str) -> bytes:
        """The end of an incomplete file."""


class Csv:
    """The fields of a session in a line; the first line has their names.

    Text that a spreadsheet would take for a formula begins with an apostrophe, as does text that began with one.
    """

    media_type = "text/csv; charset=utf-8; header=present"

    def head(self) -> bytes:
        """The line of the names."""
        return _lines([FIELDS])

    def rows(self, sessions: Sequence[SessionView]) -> bytes:
        """A line for each."""
        return _lines([[_cell(getattr(one, name)) for name in FIELDS] for one in sessions])

    def end(self, count: int, position: str) -> bytes:
        """`#end,<count>,<position>`."""
        return _lines([[END, str(count), position]])

    def error(self, why: str) -> bytes:
        """`#error,<why>`."""
        return _lines([[ERROR, why]])


class JsonLines:
    """One session in a line, in JSON as in other answers."""

    media_type = "application/x-ndjson"

    def head(self) -> bytes:
        """Nothing."""
        return b""

    def rows(self, sessions: Sequence[SessionView]) -> bytes:
        """A line for each."""
        return msgspec.json.Encoder().encode_lines(sessions)

    def end(self, count: int, position: str) -> bytes:
        """`{"end":{"count":...,"position":...}}`."""
        return msgspec.json.Encoder().encode_lines([{"end": {"count": count, "position": position}}])

    def error(self, why: str) -> bytes:
        """`{"error":{"message":...}}`."""
        return msgspec.json.Encoder().encode_lines([{"error": {"message": why}}])


FORMATS: Final[dict[str, Format]] = {"csv": Csv(), "jsonl": JsonLines()}


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, datetime):
        return str(msgspec.to_builtins(value))  # as JSON has it
    if isinstance(value, int):
        return str(value)
    if isinstance(value, str):
        return f"'{value}" if value.startswith(_FORMULA) else value
    raise TypeError(type(value))


def _lines(rows: Sequence[Sequence[str]]) -> bytes:
    written = io.StringIO()
    csv.writer(written).writerows(rows)
    return written.getvalue().encode()
