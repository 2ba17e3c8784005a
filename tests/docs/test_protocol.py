"""The tables of codes in docs/protocol.md are those of proto/codes.py."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from proto import codes
from proto.codes import CloseCode, ErrorCode, UnsubscribeCode

GUIDE = (Path(__file__).resolve().parents[2] / "docs/protocol.md").read_text()


def table(heading: str) -> list[list[str]]:
    """The cells of the rows below a heading that begin with a number."""
    section = GUIDE.partition(f"\n{heading}\n")[2].partition("\n#")[0]
    rows = re.findall(r"^\| (\d+ \|.*) \|$", section, re.MULTILINE)
    assert rows, heading
    return [[cell.strip() for cell in row.split("|")] for row in rows]


def all_of(kind: type) -> list[Any]:
    return sorted(value for value in vars(codes).values() if isinstance(value, kind))


def test_errors():
    told = [(int(code), message, temporary) for code, message, temporary, _ in table("### Errors")]
    assert told == [(e.code, e.message, "yes" if e.temporary else "") for e in all_of(ErrorCode)]


def test_ends_of_subscriptions():
    told = [(int(code), reason) for code, reason, _ in table("### Ends of subscriptions")]
    assert told == [(end.code, end.reason) for end in all_of(UnsubscribeCode)]


def test_ends_of_connections():
    told = [(int(code), reason, back) for code, reason, back, _ in table("### Ends of connections")]
    assert told == [(end.code, end.reason, "yes" if end.reconnect else "no") for end in all_of(CloseCode)]


def test_every_code_says_when():
    for heading in ("### Errors", "### Ends of subscriptions", "### Ends of connections"):
        assert all(row[-1] for row in table(heading)), heading
