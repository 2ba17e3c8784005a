"""What became of each option of another server's configuration. No value is shown, as some are secret."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from itertools import groupby


class Verdict(Enum):
    """What becomes of an option."""

    SAME = "same"
    RENAMED = "renamed"
    NOT_NEEDED = "not needed"
    NOT_THERE = "not there"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Line:
    """One option: where it stands, the verdict, the key that it became ("" for none), and what there is to say."""

    option: str
    verdict: Verdict
    key: str = ""
    says: str = ""

    @property
    def became(self) -> str:
        """The option, and its new name."""
        return f"{self.option} -> {self.key}" if self.verdict is Verdict.RENAMED else self.option


def report(lines: Iterable[Line]) -> Iterator[str]:
    """The options by verdict, each verdict with their number. What is said of several stands above them."""
    of_verdict: dict[Verdict, list[Line]] = {verdict: [] for verdict in Verdict}
    for line in lines:
        of_verdict[line.verdict].append(line)
    for verdict, members in of_verdict.items():
        if members:
            yield f"{verdict.value} ({len(members)})"
            for says, group in groupby(members, key=lambda line: line.says):
                options = [line.became for line in group]
                if says and len(options) > 1:
                    yield f"  {says}:"
                    yield from (f"    {option}" for option in options)
                else:
                    yield from (f"  {option}: {says}" if says else f"  {option}" for option in options)
