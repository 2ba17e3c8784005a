"""Figures for a reader: aligned columns for a terminal, Markdown for a README."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

Row = tuple[str, object]


def text(rows: Sequence[Row]) -> str:
    """Two aligned columns."""
    width = max((len(name) for name, _ in rows), default=0)
    return "\n".join(f"  {name:<{width}}  {value}" for name, value in rows)


def markdown(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def causes(counted: Mapping[str, int]) -> str:
    """Failures by cause, the most frequent first: "7 x http 503, 2 x refused (tcp)"."""
    ordered = sorted(counted.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{number} x {cause}" for cause, number in ordered) or "none"


def verdict(broken_promises: Sequence[str]) -> str:
    return "; ".join(broken_promises) or "every promise kept"
