"""Exported files: nothing in them is a formula, and a file that was cut lacks its last line."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, datetime
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from services.sessions.api.export_formats import FIELDS, FORMATS
from services.sessions.api.views import SessionView

AT = datetime(2026, 11, 29, 14, 2, tzinfo=UTC)


def session(user: str = "ann", **changes: Any) -> SessionView:
    row: dict[str, Any] = {
        "id": "c1", "user": user, "session_key": "", "client_name": "web", "client_version": "1", "state": "open",
        "edge": "edge-1", "instance": "i", "connection": "c1", "connection_count": 1, "opened_at": AT,
        "ended_at": None, "away_until": None, "end_code": None, "end_reason": "", "end_by": "", "address": "",
    }  # fmt: skip
    return SessionView(**(row | changes))


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_no_cell_is_a_formula_and_none_is_lost(user: str) -> None:
    form = FORMATS["csv"]
    data = form.head() + form.rows([session(user)]) + form.end(1, "e:1")
    rows = list(csv.reader(io.StringIO(data.decode(), newline="")))
    assert rows[0] == list(FIELDS) and rows[-1] == ["#end", "1", "e:1"] and len(rows) == 3
    cell = dict(zip(FIELDS, rows[1], strict=True))["user"]
    assert not cell.startswith(("=", "+", "-", "@", "\t", "\r", "\n"))
    assert cell == user or (cell == f"'{user}" and user)


def test_absent_values_are_empty_and_numbers_plain() -> None:
    row = dict(zip(FIELDS, next(csv.reader([FORMATS["csv"].rows([session(end_code=1006)]).decode()])), strict=True))
    assert (row["ended_at"], row["end_code"], row["opened_at"]) == ("", "1006", "2026-11-29T14:02:00Z"), "as in JSON"


def test_json_lines_are_sessions_and_then_the_end() -> None:
    form = FORMATS["jsonl"]
    lines = (form.head() + form.rows([session("=1+1"), session()]) + form.end(2, "e:1")).splitlines()
    assert [json.loads(line).get("user") for line in lines] == ["=1+1", "ann", None]
    assert json.loads(lines[-1]) == {"end": {"count": 2, "position": "e:1"}}


def test_a_file_that_broke_off_ends_with_why() -> None:
    assert FORMATS["csv"].error("gone, it is") == b'#error,"gone, it is"\r\n'
    assert FORMATS["jsonl"].error("gone") == b'{"error":{"message":"gone"}}\n'
