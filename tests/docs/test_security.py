"""Every row of the security page names a threat, a defence, a limit, and tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/security.md").read_text()
TESTS = {
    name
    for path in (ROOT / "tests").rglob("test_*.py")
    for name in re.findall(r"^ *(?:async )?def (test_\w+)", path.read_text(), re.MULTILINE)
}
TABLE = re.compile(
    r"^## (.+)\n(?:(?!## ).*\n)*?\n\| threat \| defence \| limit \| test \|\n\|(?:---\|){4}\n((?:\|.*\n)+)", re.M
)


def test_every_section_is_a_table():
    assert [title for title, _ in TABLE.findall(PAGE)] == re.findall(r"^## (.+)$", PAGE, re.MULTILINE)


@pytest.mark.parametrize("row", [row for _, rows in TABLE.findall(PAGE) for row in rows.splitlines()])
def test_every_row_names_tests_that_exist(row):
    threat, defence, limit, tests = (cell.strip() for cell in row.strip("|").split(" | "))
    assert threat and defence and limit
    assert re.fullmatch(r"`test_\w+`(, `test_\w+`)*", tests)
    assert sorted(set(re.findall(r"\w+", tests)) - TESTS) == []
