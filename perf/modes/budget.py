"""The design's budgets, line by line: bound, measured, share of the bound that is used, and the command that shows it.

Each line runs another mode with the command that it shows, on perf's own servers, one after the other. --quick is the
check for CI: shorter runs, and bounds with so much room that only a regression crosses them. It also compares with the
history in perf/results/history.jsonl, which finds gradual regressions; --record adds a line to the history. Exit code 1
if a bound is crossed or a ratio has drifted.
"""

from __future__ import annotations

import argparse

import msgspec

from perf import runner
from perf.modes import budget_history
from perf.modes.budget_lines import ELSEWHERE, FOLLOWED, LINES, QUICK_LINES, F, Line
from perf.report import tables
from perf.report.drift import TOLERATED, WINDOW, Drift
from perf.report.figures import Figures
from perf.report.progress_bar import Bar
from perf.settings import PerfSettings

QUICK_WITHIN_S, WITHIN_S = 180.0, 900.0


class Row(msgspec.Struct):
    """One bound. It is crossed if `share_of_bound` is above 1.0; a bound that does not count is only shown."""

    what: str
    bound: str
    measured: str
    share_of_bound: float
    kept: bool
    counts: bool
    command: str

    @property
    def verdict(self) -> str:
        share = f"{self.share_of_bound:.0%}"
        if not self.counts:
            return f"{share} (for comparison)"
        return share if self.kept else f"**{share}**"


class BudgetFigures(Figures):
    """`runs` are the figures of each command, `crossed` the names of the crossed bounds.

    `followed` are the figures of a quick run that the history follows, by name, `drifts` the verdict on each.
    """

    FLAT = ("runs",)

    runs: dict[str, dict[str, object]]
    lines: list[Row]
    crossed: list[str]
    followed: dict[str, float] = msgspec.field(default_factory=dict)
    drifts: list[Drift] = msgspec.field(default_factory=list)

    @property
    def drifted(self) -> list[str]:
        """The names of the figures that have become too much worse."""
        return [one.name for one in self.drifts if one.is_too_much]

    def table(self) -> str:
        """The table in Markdown, to be copied into a README."""
        rows = [(row.what, row.bound, row.measured, row.verdict, f"`{row.command}`") for row in self.lines]
        rows += [(what, "-", "not measured here", "-", f"`{command}`") for what, command in ELSEWHERE.items()]
        bounds = tables.markdown(("what", "bound", "measured", "of the bound", "command"), rows)
        return "\n\n".join([bounds, self._history()]) if self.drifts else bounds

    def _history(self) -> str:
        head = ("over time", f"{WINDOW} commits before", f"newest {WINDOW} commits", f"at most {TOLERATED:.0%} worse")
        rows = [
            (one.title, "-" if one.before is None else f"{one.before:g}", f"{one.now:g}", one.verdict)
            for one in self.drifts
        ]
        table = tables.markdown(head, rows)
        if all(one.worse_by is None for one in self.drifts):
            few = "**No verdict**: too few commits are recorded for machines of this class. After a change has landed:"
            return f"{table}\n\n{few} `python -m perf budget --quick --record`"
        if not self.drifted:
            return table
        accept = " ".join(f'--accept {name} "why"' for name in self.drifted)
        return f"{table}\n\nFind the commit in perf/results/history.svg. If it is meant: --record {accept}"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--quick", action="store_true", help="the check for CI, in about a minute")
    parser.add_argument("--only", nargs="+", metavar="MODE", help="the lines of these modes (default: all)")
    budget_history.add_arguments(parser)
    runner.add_arguments(parser)


async def run(arguments: argparse.Namespace, settings: PerfSettings) -> int:
    budget_history.check(arguments, [ratio.name for ratio in FOLLOWED])
    within_s = QUICK_WITHIN_S if arguments.quick else WITHIN_S
    figures = await runner.measured(arguments, within_s, measure, 0)
    if figures is not None and arguments.record and not figures.crossed:
        budget_history.record(budget_history.entry(figures.followed, arguments.accept), FOLLOWED)
    return int(figures is None or bool(figures.crossed) or bool(figures.drifted))


async def measure(arguments: argparse.Namespace, shown: Bar) -> BudgetFigures:
    figures = BudgetFigures(runs={}, lines=[], crossed=[])
    for line in QUICK_LINES if arguments.quick else LINES:
        if not arguments.only or line.name in arguments.only:
            await _measure(line, arguments.quick, shown, figures)
    figures.crossed = [row.what for row in figures.lines if row.counts and not row.kept]
    if arguments.quick:
        present = budget_history.entry(figures.followed, arguments.accept)
        figures.drifts = budget_history.drifts(FOLLOWED, present)
    return figures


async def _measure(line: Line[F], follow: bool, shown: Bar, figures: BudgetFigures) -> None:
    parser = argparse.ArgumentParser()
    line.add_arguments(parser)
    found = await line.measure(parser.parse_args(line.options.split()), shown)
    figures.runs[line.command] = found.to_json()
    for bound in line.bounds:
        used = bound.used(found)
        if follow and bound.followed is not None:
            ratio, value = bound.followed
            figures.followed[ratio.name] = value(found)
        figures.lines.append(
            Row(
                what=bound.what,
                bound=bound.bound,
                measured=bound.measured(found),
                share_of_bound=round(used, 3),
                kept=used <= 1.0,
                counts=bound.counts,
                command=line.command,
            )
        )
