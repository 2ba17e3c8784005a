"""Which series, with which labels, an expression reads. Enough of PromQL for the rules and dashboards here."""

from __future__ import annotations

import re
from collections.abc import Iterator

_WORDS = {"and", "or", "unless", "bool", "offset", "inf", "nan"}
_LABELS = re.compile(r"\b(by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)")
_SELECTOR = re.compile(r"(?<![\w:.$])([a-zA-Z_:][\w:]*)\s*(?:\{([^}]*)\})?(?!\s*\(|[\w:{])")
_MATCHER = re.compile(r"(\w+)\s*(?:=~|!~|!=|=)")


def selectors(expr: str) -> Iterator[tuple[str, set[str]]]:
    """Each series that is read, with the labels that choose among its samples."""
    plain = re.sub(r'"(?:[^"\\]|\\.)*"', '""', expr)
    plain = _LABELS.sub(" ", re.sub(r"\[[^\]]*\]", " ", plain))
    for name, matchers in _SELECTOR.findall(plain):
        if name.lower() not in _WORDS:
            yield name, set(_MATCHER.findall(matchers))


def grouping_labels(expr: str) -> set[str]:
    """The labels that sums and joins keep or compare."""
    found = (label.strip() for _, labels in _LABELS.findall(expr) for label in labels.split(","))
    return {label for label in found if label}
