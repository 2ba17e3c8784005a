"""Whether ratios have become worse from commit to commit: the verdict on a history of them, and its file.

A single run says little: on a busy machine a ratio of the same commit swings by several percent. So two medians are
compared: of the newest five commits, and of the five before them. A sudden change shows once three of the newest five
commits have it. Only lines of one class of machine are compared.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

WINDOW: Final = 5
"""Commits in each median, and so between the two."""
LEAST_BEFORE: Final = 3
"""The earlier median needs this many commits: a median of one or two would be noise."""
TOLERATED: Final = 0.10


@dataclass(frozen=True)
class Ratio:
    """What is followed over time. `name` is its key in the history."""

    name: str
    title: str
    more_is_better: bool = False

    def worse_by(self, before: float, now: float) -> float:
        """As a share: 0.1 if it costs a tenth more, or yields a tenth less. Below 0: it has become better."""
        first, second = (now, before) if self.more_is_better else (before, now)
        return second / max(first, 1e-9) - 1


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One run, a line of the history. `accepted` names intended changes, with the reason: earlier values of these
    ratios do not count."""

    commit: str
    date: str
    machine: str
    ratios: dict[str, float]
    accepted: dict[str, str] = msgspec.field(default_factory=dict)


class Drift(msgspec.Struct, frozen=True):
    """A ratio's two medians; `before` and `worse_by` are None while there are too few commits to tell."""

    name: str
    title: str
    commits: int
    now: float
    before: float | None = None
    worse_by: float | None = None

    @property
    def is_too_much(self) -> bool:
        return self.worse_by is not None and self.worse_by > TOLERATED

    @property
    def verdict(self) -> str:
        if self.worse_by is None:
            return f"{self.commits} of the {WINDOW + LEAST_BEFORE} commits that a verdict needs"
        share = f"{abs(self.worse_by):.1%} {'worse' if self.worse_by > 0 else 'better'}"
        return f"**{share}**" if self.is_too_much else share


def read(file: Path) -> list[Entry]:
    """The history, oldest first; empty if there is none. Raises msgspec.DecodeError for a line that is no entry."""
    if not file.exists():
        return []
    return [msgspec.json.decode(line, type=Entry) for line in file.read_bytes().splitlines() if line.strip()]


def append(file: Path, entry: Entry) -> None:
    """Adds a line. Raises OSError."""
    with file.open("ab") as lines:
        lines.write(msgspec.json.encode(entry) + b"\n")


def by_commit(history: Iterable[Entry], machine: str, name: str) -> dict[str, float]:
    """A ratio by commit on such a machine, oldest first, from the last accepted change on.

    A commit that was measured several times counts once, with the median.
    """
    values: dict[str, list[float]] = {}
    for entry in history:
        if entry.machine != machine or name not in entry.ratios:
            continue
        if name in entry.accepted:
            values = {}
        values.setdefault(entry.commit, []).append(entry.ratios[name])
    return {commit: statistics.median(several) for commit, several in values.items()}


def drift(ratio: Ratio, history: Sequence[Entry], present: Entry) -> Drift:
    """How a ratio has drifted up to `present`, which is the newest."""
    values = list(by_commit([*history, present], present.machine, ratio.name).values())
    now, earlier = statistics.median(values[-WINDOW:]), values[-2 * WINDOW : -WINDOW]
    if len(earlier) < LEAST_BEFORE:
        return Drift(ratio.name, ratio.title, len(values), now)
    before = statistics.median(earlier)
    return Drift(ratio.name, ratio.title, len(values), now, before, round(ratio.worse_by(before, now), 4))
