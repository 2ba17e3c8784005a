"""The history of `budget --quick`: its files in the repository, the line of a run, and when a line may be recorded."""

from __future__ import annotations

import argparse
import platform
import subprocess
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec

from perf.errors import Refusal
from perf.report import drift, machine
from perf.report.drift import Drift, Entry, Ratio

ROOT: Final = Path(__file__).resolve().parents[2]
FILE: Final = ROOT / "perf" / "results" / "history.jsonl"
CHART: Final = FILE.with_suffix(".svg")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--record", action="store_true", help=f"add the ratios to {FILE.relative_to(ROOT)}, and draw it"
    )
    parser.add_argument(
        "--accept",
        nargs=2,
        action="append",
        default=[],
        metavar=("RATIO", "WHY"),
        help="with --record: a change of this ratio is meant, and nothing before it counts",
    )


def check(arguments: argparse.Namespace, names: Sequence[str]) -> None:
    """Raises `Refusal` unless the history can be read, and the run may be recorded if that was asked for."""
    try:
        drift.read(FILE)
    except msgspec.MsgspecError as error:
        raise Refusal(f"{FILE.relative_to(ROOT)} has a line that is not of a run: {error}") from error
    unknown = {name for name, _ in arguments.accept} - set(names)
    if unknown:
        raise Refusal(f"--accept {min(unknown)}: followed are {', '.join(names)}")
    if arguments.accept and not arguments.record:
        raise Refusal("--accept goes with --record")
    if not arguments.record:
        return
    if not arguments.quick or arguments.only:
        raise Refusal("--record goes with --quick, and without --only: a line has all ratios")
    if _is_changed():
        raise Refusal("--record names the commit that was measured: commit your changes first")


def entry(ratios: Mapping[str, float], accepted: Sequence[tuple[str, str]]) -> Entry:
    """The line of a run that ends now, on this machine."""
    return Entry(
        commit=machine.commit(),
        date=datetime.now(UTC).date().isoformat(),
        machine=machine_class(),
        ratios=dict(ratios),
        accepted=dict(accepted),
    )


def machine_class() -> str:
    """What must be the same for ratios to be comparable: processor, number of cores, Python's minor version."""
    here = machine.machine()
    version = ".".join(platform.python_version_tuple()[:2])
    return f"{here.cpu}, {here.cores} cores, Python {version}"


def drifts(ratios: Sequence[Ratio], present: Entry) -> list[Drift]:
    """How each ratio of `present` has drifted over the recorded commits."""
    history = drift.read(FILE)
    return [drift.drift(ratio, history, present) for ratio in ratios if ratio.name in present.ratios]


def record(present: Entry, ratios: Sequence[Ratio]) -> None:
    """Adds the line and draws the history again. Raises OSError."""
    from perf.report import drift_chart  # matplotlib takes a second to load

    drift.append(FILE, present)
    drift_chart.draw(CHART, drift.read(FILE), present.machine, ratios)


def _is_changed() -> bool:
    """Whether the working copy differs from its commit in more than the history itself, or there is no commit."""
    own = [f":(exclude){path.relative_to(ROOT)}" for path in (FILE, CHART)]
    ask = ["git", "diff", "--quiet", "HEAD", "--", ".", *own]
    try:
        return subprocess.run(ask, cwd=ROOT, capture_output=True, timeout=30, check=False).returncode != 0
    except (OSError, subprocess.TimeoutExpired):
        return True
