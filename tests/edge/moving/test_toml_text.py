"""What is written as TOML is read as the same."""

from __future__ import annotations

import tomllib
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from services.edge.moving.toml_text import toml_text

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
NUMBERS = st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
LEAVES = TEXTS | st.booleans() | NUMBERS
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3))


@given(st.dictionaries(TEXTS, VALUES, max_size=4))
def test_any_tables_come_back(tables: dict[str, Any]) -> None:
    assert tomllib.loads(toml_text(tables, "a comment")) == tables


def test_it_looks_as_people_write_it() -> None:
    tables = {"channel": {"namespaces": [{"name": "chat", "presence": True}]}, "client": {"transports": ["sse"]}}
    assert toml_text(tables, "Written by a test.") == (
        "# Written by a test.\n"
        "\n"
        "[[channel.namespaces]]\n"
        'name = "chat"\n'
        "presence = true\n"
        "\n"
        "[client]\n"
        'transports = ["sse"]\n'
    )
