"""The results that are published in perf/results can be compared with new ones: their keys are those of today."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from perf.modes.accept import AcceptFigures
from perf.modes.compare import CompareFigures
from perf.modes.connect import ConnectFigures
from perf.modes.drain_figures import DrainFigures
from perf.modes.fanout import FanoutFigures
from perf.modes.fold import FoldFigures
from perf.modes.ghosts import GhostFigures
from perf.modes.latency import LatencyFigures
from perf.modes.memory import MemoryFigures
from perf.modes.scale_figures import Step
from perf.modes.start import StartFigures
from perf.report.comparison import Trial
from perf.report.figures import Figures, Header

RESULTS = Path(__file__).resolve().parents[3] / "perf" / "results"
FIGURES: dict[str, type[Figures]] = {
    "accept": AcceptFigures,
    "drain": DrainFigures,
    "fanout": FanoutFigures,
    "fold": FoldFigures,
    "latency": LatencyFigures,
    "memory": MemoryFigures,
    "start": StartFigures,
}


def keys(figures: type[Figures]) -> set[str]:
    """The keys of these figures in JSON."""
    found: set[str] = set()
    for field in msgspec.structs.fields(figures):
        if field.name in figures.FLAT:
            found |= keys(field.type)
        else:
            found.add(field.encode_name)
    return found


def read(name: str) -> dict[str, Any]:
    report: dict[str, Any] = json.loads((RESULTS / name).read_text())
    assert report["command"].startswith("python -m perf ")
    assert report.keys() >= {field.encode_name for field in msgspec.structs.fields(Header)}
    return report


def runs_of_the_budget() -> list[Any]:
    report = read("2026-11-24-budget/budget.json")
    return [pytest.param(command, report[command], id=command) for command in report if command.startswith("python")]


@pytest.mark.parametrize(("command", "older"), runs_of_the_budget())
def test_figures_of_the_budget(command: str, older: dict[str, Any]) -> None:
    figures = FIGURES[command.split()[3]]
    since_then = {field.encode_name for field in msgspec.structs.fields(figures) if not field.required}
    assert set(older) | since_then == keys(figures)


@pytest.mark.parametrize(
    ("name", "figures"),
    [
        ("2026-11-23-first-stack/connect-5000-at-1000-1.json", ConnectFigures),
        ("2026-11-23-first-stack/drain-2000.json", DrainFigures),
        ("2026-11-24-ghosts/ghosts-20.json", GhostFigures),
        ("2026-11-24-compare/compare.json", CompareFigures),
    ],
)
def test_figures_of_other_runs(name: str, figures: type[Figures]) -> None:
    assert set(read(name)) - {"command", "machine", "versions"} <= keys(figures)


def test_trials_of_a_comparison_and_steps_of_a_climb() -> None:
    trials = msgspec.convert(read("2026-11-24-compare/compare.json")["trials"], list[Trial])
    assert {trial.system for trial in trials} >= {"fairlead", "starlette"}
    assert all(set(step) == keys(Step) for step in read("2026-11-24-scale/scale.json")["steps"])
