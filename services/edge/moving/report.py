"""Reports what became of each option of another server's configuration. Shows no values, as some are secret."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final


class Verdict(Enum):
    """What becomes of an option."""

    SAME = "same"
    RENAMED = "renamed"
    NOT_NEEDED = "not needed"
    NOT_THERE = "not there"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Line:
    """One option: its path, the verdict, the key that it became ("" for none), and a remark in `says` ("" for none)."""

    option: str
    verdict: Verdict
    key: str = ""
    says: str = ""

    @property
    def became(self) -> str:
        """The option, with its new name if it is renamed."""
        return f"{self.option} -> {self.key}" if self.verdict is Verdict.RENAMED else self.option


_DOT: Final = re.compile(r"\.(?![^\[]*\])")  # not in a name: "channel.namespaces[a.b]"


def report(lines: Iterable[Line]) -> Iterator[str]:
    """The options by verdict, each verdict with their number. A remark on several options stands above them.

    A table whose options all have the same remark is one line with their number.
    """
    given = list(lines)
    tables: dict[str, list[Line]] = {}
    for line in given:
        for table in _tables(line.option):
            tables.setdefault(table, []).append(line)
    for verdict in Verdict:
        said: dict[str, list[Line]] = {}
        for line in given:
            if line.verdict is verdict:
                said.setdefault(line.says, []).append(line)
        if said:
            yield f"{verdict.value} ({sum(map(len, said.values()))})"
        for says, members in said.items():
            entries = list(_entries(members, tables))
            if says and len(entries) > 1:
                yield f"  {says}:"
                yield from (f"    {entry}" for entry in entries)
            else:
                yield from (f"  {entry}: {says}" if says else f"  {entry}" for entry in entries)


def _tables(option: str) -> Iterator[str]:
    """The tables that an option is in, from the outside."""
    return (option[: dot.start()] for dot in _DOT.finditer(option))


def _entries(members: Sequence[Line], tables: dict[str, list[Line]]) -> Iterator[str]:
    """An entry for each of the options, which have the same remark, or for the widest table that has no others."""
    first = members[0]
    alike = (first.verdict, first.says)
    written: set[str] = set()
    for line in members:
        whole = (
            table
            for table in (() if line.key or not line.says else _tables(line.option))
            if len(tables[table]) > 1 and all((each.verdict, each.says) == alike for each in tables[table])
        )
        table = next(whole, "")
        entry = f"{table}.* ({len(tables[table])} options)" if table else line.became
        if entry not in written:
            written.add(entry)
            yield entry
