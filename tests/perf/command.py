"""Runs `python -m perf` as its users do, but for the start of its process and of the services: see `by_fork`."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support import forks

_ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Outcome:
    code: int
    output: str  # stdout and stderr
    report: dict[str, Any]  # of --json, empty when none was written


async def perf(folder: Path, *arguments: str, variables: Mapping[str, str] | None = None) -> Outcome:
    """Runs it in `folder`, with none of the caller's FAIRLEAD_* variables."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("FAIRLEAD_")}
    command = (sys.executable, "-m", "tests.perf.by_fork", *arguments, "--json", "out/report.json")
    with (folder / "perf.log").open("wb") as output:
        started = forks.popen(
            command,
            cwd=folder,
            env={**environ, "PYTHONPATH": str(_ROOT), **(variables or {})},
            stdout=output,
            stderr=output,
        )
    try:
        code = await asyncio.to_thread(started.wait)
    finally:
        started.kill()
    said = (folder / "perf.log").read_text()
    file = folder / "out" / "report.json"
    return Outcome(code, said, json.loads(file.read_text()) if file.exists() else {})
