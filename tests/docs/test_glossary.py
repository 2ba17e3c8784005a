"""The glossary matches the code: each term has its module, and no term stands twice."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/glossary.md").read_text()
ROWS = re.findall(r"^\| \*\*(.+?)\*\* \| (.+) \| `(.+?)` \|$", PAGE, re.MULTILINE)


def test_every_term_names_a_module_that_exists():
    assert ROWS and len(ROWS) == len(re.findall(r"^\| \*\*", PAGE, re.MULTILINE))
    modules = {term: module for term, _, module in ROWS}
    missing = {
        term: m for term, m in modules.items() if not any((ROOT / root / m).exists() for root in ("", "services/edge"))
    }
    assert missing == {}


def test_no_term_stands_twice():
    terms = [term for names, _, _ in ROWS for term in names.split(", ")]
    assert sorted(terms) == sorted(set(terms))
