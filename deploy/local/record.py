"""What the running stack records for `make status`, `make run`, `perf` and others: its plan, the settings that it was
given, and the autoscaler's last report.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import msgspec

from deploy.local.settings import Folders, Plan, Ports

_SETTING = "FAIRLEAD_"


def write_plan(folders: Folders, plan: Plan) -> None:
    """Records how the stack is to run."""
    _plan(folders).write_text(json.dumps(asdict(plan)) + "\n")
    _scaling(folders).unlink(missing_ok=True)


def read_plan(folders: Folders) -> Plan | None:
    """How the stack runs, or ran; None if that is not known."""
    try:
        record = json.loads(_plan(folders).read_text())
        return Plan(Ports(**record.pop("ports")), **record)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write_given(folders: Folders, environ: Mapping[str, str]) -> None:
    """Records the FAIRLEAD_* variables that the stack was given, readable only by their owner, as some are secret."""
    given = {name: value for name, value in environ.items() if name.startswith(_SETTING)}
    path = _given(folders)
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump(given, file)


def read_given(folders: Folders) -> dict[str, str]:
    """The recorded variables; none if they are not known."""
    try:
        return msgspec.json.decode(_given(folders).read_bytes(), type=dict[str, str])
    except (OSError, msgspec.DecodeError):
        return {}


def remove(folders: Folders) -> None:
    """Removes all records."""
    _plan(folders).unlink(missing_ok=True)
    _given(folders).unlink(missing_ok=True)
    _scaling(folders).unlink(missing_ok=True)


class ScalingReport(msgspec.Struct, frozen=True, kw_only=True):
    """What the autoscaler saw at `at`, Unix time in seconds. `edges` has the state of each edge by its name.
    `recommended` is None while the number is unknown; then `problem` says why. `last` is its last change, "" for
    none."""

    at: float
    recommended: int | None
    problem: str
    edges: dict[str, str]
    last: str


def write_scaling(folders: Folders, report: ScalingReport) -> None:
    """Replaces the last report in one step, as somebody may be reading it."""
    path = _scaling(folders)
    new = path.with_suffix(".new")
    new.write_bytes(msgspec.json.encode(report) + b"\n")
    os.replace(new, path)


def read_scaling(folders: Folders) -> ScalingReport | None:
    """The last report; None before the first one."""
    try:
        return msgspec.json.decode(_scaling(folders).read_bytes(), type=ScalingReport)
    except (OSError, msgspec.DecodeError):
        return None


def _plan(folders: Folders) -> Path:
    return folders.run / "stack.json"


def _given(folders: Folders) -> Path:
    return folders.run / "given.json"


def _scaling(folders: Folders) -> Path:
    return folders.run / "autoscaler.json"
