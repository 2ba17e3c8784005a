"""The design's budgets, line by line: bound, measured, share of the bound that is used, and the command that shows it.

Each line runs another mode as its command says, on servers of perf's own, one after the other. --quick is the check for
CI: shorter runs, and bounds with so much room that only a regression crosses them. Exit code 1 if a bound is crossed.
"""

from __future__ import annotations

import argparse

import msgspec

from perf import runner
from perf.modes.budget_lines import ELSEWHERE, LINES, QUICK_LINES, F, Line
from perf.report import tables
from perf.report.figures import Figures
from perf.report.progress_bar import Bar
from perf.settings import PerfSettings

QUICK_WITHIN_S, WITHIN_S = 180.0, 900.0


class Row(msgspec.Struct):
    """One bound. It is crossed if `share_of_bound` is above 1.0; one that does not count is only shown."""

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
    """`runs` are the figures of each command, `crossed` the names of the bounds that were."""

    FLAT = ("runs",)

    runs: dict[str, dict[str, object]]
    lines: list[Row]
    crossed: list[str]

    def table(self) -> str:
        """In Markdown: it goes into a README as it is."""
        rows = [(row.what, row.bound, row.measured, row.verdict, f"`{row.command}`") for row in self.lines]
        rows += [(what, "-", "not measured here", "-", f"`{command}`") for what, command in ELSEWHERE.items()]
        return tables.markdown(("what", "bound", "measured", "of the bound", "command"), rows)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--quick", action="store_true", help="the check for CI, in about a minute")
    parser.add_argument("--only", nargs="+", metavar="MODE", help="the lines of these modes (default: all)")
    runner.add_arguments(parser)


async def run(arguments: argparse.Namespace, settings: PerfSettings) -> int:
    within_s = QUICK_WITHIN_S if arguments.quick else WITHIN_S
    figures = await runner.measured(arguments, within_s, measure, 0)
    return int(figures is None or bool(figures.crossed))


async def measure(arguments: argparse.Namespace, shown: Bar) -> BudgetFigures:
    figures = BudgetFigures(runs={}, lines=[], crossed=[])
    for line in QUICK_LINES if arguments.quick else LINES:
        if not arguments.only or line.name in arguments.only:
            await _measure(line, shown, figures)
    figures.crossed = [row.what for row in figures.lines if row.counts and not row.kept]
    return figures


async def _measure(line: Line[F], shown: Bar, figures: BudgetFigures) -> None:
    parser = argparse.ArgumentParser()
    line.add_arguments(parser)
    found = await line.measure(parser.parse_args(line.options.split()), shown)
    figures.runs[line.command] = found.to_json()
    for bound in line.bounds:
        used = bound.used(found)
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
