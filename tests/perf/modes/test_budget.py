"""Each budget is kept up to its bound and not past it, and a run that lost something keeps none."""

from __future__ import annotations

import argparse
from types import SimpleNamespace as Figures
from typing import Any

import pytest

from perf.modes import budget_lines
from perf.modes.budget import BudgetFigures, Row
from perf.modes.budget_lines import LINES, QUICK_LINES, Bound, Line

GOOD: dict[str, Any] = {
    "accept": Figures(ratio=0.9),
    "memory": Figures(bytes_per_connection={"own": 5_990.0, "shared": 100.0}),
    "fanout": Figures(ratio_to={"send-loop": 0.71, "starlette": 3.01}, lost=0),
    "latency": Figures(p99_to_bare_nats=9.9, age_s=Figures(p99=0.01), lost=0),
    "start": Figures(ready_s=Figures(p50=0.59, max=2.0)),
    "drain": Figures(exit_s=1.99, broken_promises=[]),
    "fold": Figures(events_a_second=30_001),
}
BAD: list[tuple[str, Any]] = [
    ("accept", Figures(ratio=1.01)),
    ("memory", Figures(bytes_per_connection={"own": 6_010.0, "shared": 100.0})),
    ("fanout", Figures(ratio_to={"send-loop": 0.69, "starlette": 3.01}, lost=0)),
    ("fanout", Figures(ratio_to={"send-loop": 0.71, "starlette": 2.99}, lost=0)),
    ("fanout", Figures(ratio_to={"send-loop": 9.0, "starlette": 9.0}, lost=1)),
    ("latency", Figures(p99_to_bare_nats=10.1, age_s=Figures(p99=0.01), lost=0)),
    ("latency", Figures(p99_to_bare_nats=1.0, age_s=Figures(p99=0.01), lost=1)),
    ("latency", Figures(p99_to_bare_nats=None, age_s=Figures(p99=None), lost=0)),
    ("start", Figures(ready_s=Figures(p50=0.61, max=0.61))),
    ("drain", Figures(exit_s=10.1, broken_promises=[])),
    ("drain", Figures(exit_s=1.0, broken_promises=["exit code 1"])),
    ("drain", Figures(exit_s=None, broken_promises=["not gone within 10 s"])),
    ("fold", Figures(events_a_second=29_999)),
]


def bounds(lines: tuple[Line[Any], ...], mode: str) -> list[Bound[Any]]:
    return [bound for line in lines if line.name == mode for bound in line.bounds]


@pytest.mark.parametrize("mode", GOOD)
def test_a_budget_is_kept_up_to_its_bound(mode: str) -> None:
    assert all(bound.used(GOOD[mode]) <= 1.0 for bound in bounds(LINES, mode))


@pytest.mark.parametrize(("mode", "figures"), BAD)
def test_past_it_it_is_not(mode: str, figures: Any) -> None:
    assert any(bound.used(figures) > 1.0 for bound in bounds(LINES, mode))


def test_ci_leaves_room_above_the_budgets() -> None:
    """What keeps the budgets is never a regression to CI."""
    assert bounds(QUICK_LINES, "accept")[0].used(GOOD["accept"]) < 0.8
    assert bounds(QUICK_LINES, "memory")[0].used(GOOD["memory"]) < 0.8
    assert bounds(QUICK_LINES, "fanout")[0].used(GOOD["fanout"]) < 0.8


@pytest.mark.parametrize("line", [*LINES, *QUICK_LINES], ids=lambda line: line.command)
def test_each_command_is_one_that_its_mode_takes(line: Line[Any]) -> None:
    parser = argparse.ArgumentParser()
    line.add_arguments(parser)
    assert vars(parser.parse_args(line.options.split()))
    assert line.command.startswith("python -m perf ")


def test_the_table_says_what_was_crossed_and_what_is_measured_elsewhere() -> None:
    crossed = Row(what="x", bound="1 s", measured="2 s", share_of_bound=2.0, kept=False, counts=True, command="c")
    shown = Row(what="x", bound="1 s", measured="2 s", share_of_bound=2.0, kept=False, counts=False, command="c")
    table = BudgetFigures(runs={}, lines=[crossed, shown], crossed=["x"]).table()
    assert "| x | 1 s | 2 s | **200%** | `c` |" in table
    assert "| x | 1 s | 2 s | 200% (for comparison) | `c` |" in table
    assert all(what in table for what in budget_lines.ELSEWHERE)
