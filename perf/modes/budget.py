"""The design's budgets, line by line: bound, measured, how much of the bound is used, and the command that shows it.

Each line runs another mode as its command says, on servers of perf's own, one after the other. --quick is the check for
CI: shorter runs, and bounds with so much room that only a regression crosses them. Exit code 1 when a bound is crossed.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass

from perf import reporting, summary
from perf.budget_lines import ELSEWHERE, LINES, QUICK_LINES, Bound, Line
from perf.progress_bar import Bar
from perf.reporting import Report
from perf.settings import PerfSettings

QUICK_WITHIN_S, WITHIN_S = 180.0, 900.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--quick", action="store_true", help="the check for CI, in about a minute")
    parser.add_argument("--only", nargs="+", metavar="MODE", help="the lines of these modes (default: all)")
    reporting.add_arguments(parser)


@dataclass(frozen=True)
class Outcome:
    """`used` is the share of the bound; past 1.0 it is crossed."""

    bound: Bound
    measured: str
    used: float
    command: str

    @property
    def kept(self) -> bool:
        return self.used <= 1.0


async def run(arguments: argparse.Namespace, settings: PerfSettings) -> int:
    async def measure(arguments: argparse.Namespace, shown: Bar, report: Report) -> None:
        outcomes: list[Outcome] = []
        for line in QUICK_LINES if arguments.quick else LINES:
            if not arguments.only or line.name in arguments.only:
                outcomes += await _outcomes(line, settings, shown, report)
        report["lines"] = [_row(outcome) for outcome in outcomes]
        report["crossed"] = [one.bound.what for one in outcomes if one.bound.counts and not one.kept]

    within_s = QUICK_WITHIN_S if arguments.quick else WITHIN_S
    report = await reporting.reported(arguments, within_s, measure, readable, 0)
    return int(report is None or bool(report["crossed"]))


async def _outcomes(line: Line, settings: PerfSettings, shown: Bar, report: Report) -> list[Outcome]:
    parser = argparse.ArgumentParser()
    line.mode.add_arguments(parser)
    figures: Report = {}
    await line.measure(settings)(parser.parse_args(line.options.split()), shown, figures)
    report[line.command] = figures
    return [Outcome(bound, bound.measured(figures), bound.used(figures), line.command) for bound in line.bounds]


def _row(outcome: Outcome) -> dict[str, object]:
    return {
        "what": outcome.bound.what,
        "bound": outcome.bound.bound,
        "measured": outcome.measured,
        "share_of_bound": round(outcome.used, 3),
        "kept": outcome.kept,
        "counts": outcome.bound.counts,
        "command": outcome.command,
    }


def readable(report: Report) -> str:
    """A table in Markdown: it goes into a README as it is."""
    lines = report["lines"]
    assert isinstance(lines, list)
    rows = [(row["what"], row["bound"], row["measured"], _verdict(row), f"`{row['command']}`") for row in lines]
    rows += [(what, "-", "not measured here", "-", f"`{command}`") for what, command in ELSEWHERE.items()]
    return summary.markdown(("what", "bound", "measured", "of the bound", "command"), rows)


def _verdict(row: dict[str, object]) -> str:
    share = f"{row['share_of_bound']:.0%}"
    if not row["counts"]:
        return f"{share} (for comparison)"
    return share if row["kept"] else f"**{share}**"
