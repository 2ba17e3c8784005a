"""What may be recorded of a budget run: a whole quick one, of a commit."""

from __future__ import annotations

import argparse
import random
from pathlib import Path

import pytest
from msgspec.structs import replace

from perf.errors import Refusal
from perf.modes import budget, budget_history
from perf.modes.budget import BudgetFigures
from perf.modes.budget_lines import ACCEPT, FOLLOWED, QUICK_LINES
from perf.report import drift
from perf.report.drift import Entry, Ratio

NAMES = [ratio.name for ratio in FOLLOWED]


def parsed(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    budget.add_arguments(parser)
    return parser.parse_args(arguments)


def test_each_ratio_that_is_followed_comes_from_one_line_of_ci() -> None:
    followed = [bound.followed[0].name for line in QUICK_LINES for bound in line.bounds if bound.followed]
    assert sorted(followed) == sorted(NAMES)


@pytest.mark.parametrize(
    "arguments",
    [
        ("--record",),
        ("--quick", "--record", "--only", "accept"),
        ("--quick", "--accept", "accept", "meant"),
        ("--quick", "--record", "--accept", "speed", "meant"),
    ],
)
def test_a_line_that_would_mislead_is_refused_before_anything_runs(
    arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(budget_history, "_is_changed", lambda: False)
    budget_history.check(parsed("--quick", "--record", "--accept", "accept", "meant"), NAMES)
    with pytest.raises(Refusal):
        budget_history.check(parsed(*arguments), NAMES)


def test_a_working_copy_with_changes_is_not_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budget_history, "_is_changed", lambda: True)
    budget_history.check(parsed("--quick"), NAMES)
    with pytest.raises(Refusal, match="commit your changes first"):
        budget_history.check(parsed("--quick", "--record"), NAMES)


def test_a_history_that_cannot_be_read_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = budget_history.ROOT / "README.md"
    monkeypatch.setattr(budget_history, "FILE", broken)
    with pytest.raises(Refusal, match=r"README\.md has a line"):
        budget_history.check(parsed("--quick"), NAMES)


def test_a_run_is_compared_with_what_the_file_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "history.jsonl"
    monkeypatch.setattr(budget_history, "FILE", file)
    present = budget_history.entry({"accept": 0.9}, [])
    none = budget_history.drifts(FOLLOWED, present)
    assert [each.worse_by for each in none] == [None]
    assert "**No verdict**" in BudgetFigures(runs={}, lines=[], crossed=[], drifts=none).table()
    for number, value in enumerate([0.6] * 5 + [0.8] * 4):
        line = Entry(f"c{number}", "2026-11-28", budget_history.machine_class(), {"accept": value})
        drift.append(file, line)
    drifts = budget_history.drifts(FOLLOWED, present)
    figures = BudgetFigures(runs={}, lines=[], crossed=[], drifts=drifts)
    assert figures.drifted == ["accept"]
    assert f"| {ACCEPT.title} | 0.6 | 0.8 | **33.3% worse** |" in figures.table()
    assert '--record --accept accept "why"' in figures.table()


def test_the_history_of_the_repository_can_be_read() -> None:
    assert all(set(entry.ratios) <= set(NAMES) for entry in drift.read(budget_history.FILE))


@pytest.mark.parametrize("ratio", FOLLOWED, ids=lambda ratio: ratio.name)
def test_what_was_recorded_swings_too_little_to_be_taken_for_a_drift(ratio: Ratio) -> None:
    """Ten runs drawn from those of the repository, as though nothing changed any more: less than 5 % fail."""
    recorded = drift.read(budget_history.FILE)
    chance, failed = random.Random(1), 0
    for _ in range(2000):
        drawn = [replace(chance.choice(recorded), commit=str(number), accepted={}) for number in range(10)]
        failed += drift.drift(ratio, drawn[:-1], drawn[-1]).is_too_much
    assert failed < 100
