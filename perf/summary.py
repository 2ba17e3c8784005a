"""Figures out of samples: percentiles, the JSON of a run, the table of a run. Pure, but for writing the file."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

Distribution = dict[str, float | None]

PERCENTILES = (50, 90, 99)


def percentile(ordered: Sequence[float], percent: float) -> float:
    """By nearest rank: a value that was measured, never one between two. `ordered` ascends and is not empty."""
    return ordered[max(0, math.ceil(percent / 100 * len(ordered)) - 1)]


def distribution(samples: Sequence[float]) -> Distribution:
    """p50, p90, p99 and max, rounded to microseconds; None in each for no samples."""
    ordered = sorted(samples)
    names = [f"p{percent}" for percent in PERCENTILES]
    if not ordered:
        return dict.fromkeys([*names, "max"])
    values = [percentile(ordered, percent) for percent in PERCENTILES]
    return {name: round(value, 6) for name, value in zip([*names, "max"], [*values, ordered[-1]], strict=True)}


def milliseconds(figures: Mapping[str, float | None]) -> str:
    """A distribution for a reader: "p50 1.2  p90 3.4 ..." in milliseconds."""
    return "  ".join(f"{name} {'-' if value is None else f'{value * 1000:.1f}'}" for name, value in figures.items())


def causes(counted: Mapping[str, int]) -> str:
    """Failures for a reader, most frequent first."""
    ordered = sorted(counted.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{number} x {cause}" for cause, number in ordered) or "none"


def table(rows: Sequence[tuple[str, object]]) -> str:
    """Two aligned columns."""
    width = max((len(name) for name, _ in rows), default=0)
    return "\n".join(f"  {name:<{width}}  {value}" for name, value in rows)


def markdown(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A table for a README."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def write(path: Path, report: Mapping[str, object]) -> None:
    """The report as JSON for people and programs. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n")
