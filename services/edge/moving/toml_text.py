"""Writes the tables of a configuration as TOML.

A package for this would be installed with every edge, for a command that is used once.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any


def toml_text(tables: Mapping[str, Any], comment: str) -> str:
    """The tables as TOML text below a comment. Values are texts, numbers, switches, and lists and tables of those."""
    lines = [f"# {line}".rstrip() for line in comment.splitlines()]
    lines += _lines("", tables)
    return "\n".join(lines) + "\n"


def _lines(path: str, table: Mapping[str, Any]) -> Iterator[str]:
    inner = {name: value for name, value in table.items() if _is_inner(value)}
    for name, value in table.items():
        if name not in inner:
            yield f"{_key(name)} = {_value(value)}"
    for name, value in inner.items():
        where = f"{path}.{_key(name)}" if path else _key(name)
        for entry in value if isinstance(value, list) else [value]:
            if isinstance(value, list) or not entry or any(not _is_inner(each) for each in entry.values()):
                yield ""
                yield f"[[{where}]]" if isinstance(value, list) else f"[{where}]"
            yield from _lines(where, entry)


def _is_inner(value: object) -> bool:
    """Whether it is written as a table of its own, or as several."""
    if isinstance(value, list):
        return bool(value) and all(isinstance(each, dict) for each in value)
    return isinstance(value, dict)


def _key(name: str) -> str:
    bare = name.replace("-", "").replace("_", "")
    return name if bare.isascii() and bare.isalnum() else _value(name)


def _value(value: object) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{_key(name)} = {_value(each)}" for name, each in value.items()) + " }"
    # JSON's strings are valid in TOML, except for DEL, which TOML wants escaped, and surrogate pairs, which it lacks.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
