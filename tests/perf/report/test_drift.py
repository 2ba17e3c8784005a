"""What becomes worse from commit to commit is noticed; noise, other machines and what is meant are not."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import msgspec
import pytest

from perf.report import drift
from perf.report.drift import Drift, Entry, Ratio

COST = Ratio("accept", "CPU to accept")
GAIN = Ratio("fanout", "fan-out", more_is_better=True)
HERE, ELSEWHERE = "EPYC, 2 cores, Python 3.11", "Xeon, 8 cores, Python 3.11"


def entry(commit: str, value: float, machine: str = HERE, accepted: dict[str, str] | None = None) -> Entry:
    ratios = {COST.name: value, GAIN.name: 1 / value}
    return Entry(commit=commit, date="2026-11-28", machine=machine, ratios=ratios, accepted=accepted or {})


def history(values: Sequence[float], machine: str = HERE) -> list[Entry]:
    return [entry(f"{machine[0]}{number}", value, machine) for number, value in enumerate(values)]


def verdicts(entries: Sequence[Entry]) -> list[Drift]:
    """On the ratio that should be small and on the one that should be large; the last entry is the present run."""
    return [drift.drift(ratio, entries[:-1], entries[-1]) for ratio in (COST, GAIN)]


def too_much(entries: Sequence[Entry]) -> list[bool]:
    return [each.is_too_much for each in verdicts(entries)]


def test_a_little_worse_with_each_commit_is_a_drift() -> None:
    assert too_much(history([1.0 * 1.025**number for number in range(10)])) == [True, True]
    assert too_much(history([1.0 * 1.015**number for number in range(10)])) == [False, False]


def test_a_step_shows_with_the_third_commit_that_has_it() -> None:
    assert too_much(history([1.0] * 8 + [1.2] * 2)) == [False, False]
    assert too_much(history([1.0] * 7 + [1.2] * 3)) == [True, True]


def test_better_is_no_drift() -> None:
    assert too_much(history([1.0] * 5 + [0.5] * 5)) == [False, False]
    assert verdicts(history([1.0] * 5 + [0.5] * 5))[0].verdict == "50.0% better"


def test_noise_is_no_drift() -> None:
    """A run that is off by a third now and then, and 5 % up and down in all others."""
    for seed in range(200):
        chance = random.Random(seed)
        values = [chance.uniform(0.95, 1.05) for _ in range(10)]
        values[chance.randrange(5, 10)] = 1.35
        assert too_much(history(values)) == [False, False], seed


def test_too_few_commits_are_no_verdict_and_no_failure() -> None:
    for many in range(1, drift.WINDOW + drift.LEAST_BEFORE):
        seen = verdicts(history([1.0] * (many - 1) + [9.0]))
        assert [each.worse_by for each in seen] == [None, None]
        assert seen[0].verdict == f"{many} of the 8 commits that a verdict needs"
    assert too_much(history([1.0] * 3 + [9.0] * 5)) == [True, True]


def test_a_missing_history_is_empty(tmp_path: Path) -> None:
    assert drift.read(tmp_path / "none.jsonl") == []


def test_another_machine_s_figures_are_not_compared() -> None:
    others = history([1.0] * 10, ELSEWHERE)
    assert [each.worse_by for each in verdicts([*others, *history([2.0])])] == [None, None]
    mixed = [line for pair in zip(history([1.0] * 10), history([2.0] * 10, ELSEWHERE), strict=True) for line in pair]
    assert too_much([*mixed, entry("now", 1.0)]) == [False, False]


def test_an_accepted_change_begins_anew_for_its_ratio_only() -> None:
    meant = [*history([1.0] * 5), entry("meant", 1.5, accepted={COST.name: "tokens are checked twice"})]
    entries = [*meant, *(entry(f"after{number}", 1.5) for number in range(5))]
    assert too_much(entries) == [False, True]
    assert verdicts(entries)[0].commits == 6
    worse_still = [*meant, entry("a", 1.5), entry("b", 1.5), *(entry(f"worse{number}", 2.0) for number in range(5))]
    assert too_much(worse_still)[0]


def test_a_commit_that_was_measured_again_counts_once() -> None:
    again = [*history([1.0] * 9), *(entry("again", value) for value in (1.0, 1.3, 1.3, 1.3, 1.3))]
    assert too_much(again) == [False, False]
    assert verdicts(again)[0].commits == 10


def test_what_is_recorded_is_read(tmp_path: Path) -> None:
    file = tmp_path / "history.jsonl"
    entries = [entry("a", 1.0), entry("b", 1.1, accepted={COST.name: "why"})]
    for each in entries:
        drift.append(file, each)
    assert drift.read(file) == entries
    file.write_text('{"commit": "a"}\n')
    with pytest.raises(msgspec.ValidationError):
        drift.read(file)


@pytest.fixture
def drift_chart() -> ModuleType:
    """Loads matplotlib, which takes more than a second, in the one process that draws."""
    module: ModuleType = pytest.importorskip("perf.report.drift_chart", reason="matplotlib", exc_type=ImportError)
    return module


def test_the_chart_names_each_ratio_and_each_commit_and_is_the_same_each_time(
    drift_chart: ModuleType, tmp_path: Path
) -> None:
    entries = history([1.0, 1.1, 0.9])
    drawn = [drift_chart.draw(tmp_path / f"{i}.svg", entries, HERE, [COST, GAIN]).read_text() for i in range(2)]
    assert drawn[0] == drawn[1]
    assert all(text in drawn[0] for text in (COST.title, GAIN.title, *(each.commit for each in entries)))
