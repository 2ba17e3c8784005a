"""How every mode runs: bounded in time, with a bar on stderr, its figures as a table and, if wanted, as JSON."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

from perf import machine, summary
from perf.child import ChildDied
from perf.progress_bar import Bar, bar

Report = dict[str, object]

Measure = Callable[[argparse.Namespace, Bar, Report], Awaitable[None]]
"""Does what the options say and fills the report."""


class RunFailed(Exception):
    """The run began, and did not get far enough for figures. The text says why; exit code 1."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--deadline", type=float, help="seconds for the whole run (default: what the options add up to)"
    )
    parser.add_argument("--json", metavar="FILE", help="write the report there too")


async def reported(
    arguments: argparse.Namespace,
    expected_s: float,
    measure: Measure,
    readable: Callable[[Report], str],
    connections: int,
) -> Report | None:
    """Runs `measure`, which fills the report, within --deadline or `expected_s`. Prints and writes what came out.

    None when there are no figures; why is on stderr.
    """
    report: Report = {
        "command": machine.command(arguments.command_line),
        "machine": machine.machine(),
        "versions": machine.versions(),
    }
    busy = machine.Busy()
    try:
        async with asyncio.timeout(arguments.deadline or expected_s):
            with bar(connections) as shown:
                await measure(arguments, shown, report)
    except TimeoutError:
        print("perf: no figures: the run took longer than its --deadline", file=sys.stderr)
        return None
    except (ChildDied, RunFailed) as error:
        print(f"perf: no figures: {error}", file=sys.stderr)
        return None
    report.setdefault("machine_busy", busy.share())
    print(readable(report))
    if arguments.json:
        summary.write(Path(arguments.json), report)
    return report
