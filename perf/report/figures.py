"""What a mode has measured, as one struct: the JSON report and the table for a reader are made from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import msgspec

from perf.report import machine


class Figures(msgspec.Struct, kw_only=True):
    """The base of each mode's figures. A field's name is its key in the JSON: renaming one makes older results
    unreadable.

    Fields named in `FLAT` hold figures, or a mapping, whose keys are at the same level of the JSON as the other fields.
    """

    FLAT: ClassVar[tuple[str, ...]] = ()

    def to_json(self) -> dict[str, object]:
        fields: dict[str, object] = msgspec.to_builtins(self)
        flat: dict[str, object] = {}
        for name in self.FLAT:
            inner = getattr(self, name)
            flat |= inner.to_json() if isinstance(inner, Figures) else msgspec.to_builtins(inner)
            del fields[name]
        return {**flat, **fields}

    def table(self) -> str:
        """For a reader."""
        raise NotImplementedError


class Header(msgspec.Struct):
    """What was run, and on what: without it a number means nothing."""

    command: str
    machine: machine.Machine
    versions: dict[str, str]

    @classmethod
    def of(cls, command_line: Sequence[str]) -> Header:
        return cls(machine.command(command_line), machine.machine(), machine.versions())

    def to_json(self) -> dict[str, object]:
        fields: dict[str, object] = msgspec.to_builtins(self)
        return fields


def write(path: Path, report: Mapping[str, object]) -> None:
    """Writes a report as JSON that people can read. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n")
