"""How every mode runs: within a time limit, with a progress bar on stderr, its figures as a table and as JSON."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from perf.errors import RunFailed
from perf.report import figures, machine
from perf.report.figures import Figures, Header
from perf.report.progress_bar import Bar, bar

F = TypeVar("F", bound=Figures)

Measure = Callable[[argparse.Namespace, Bar], Awaitable[F]]
"""Measures what the options ask for, and returns the figures."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--deadline", type=float, help="seconds for the whole run (default: what the options add up to)"
    )
    parser.add_argument("--json", metavar="FILE", help="write the report there too")


async def measured(arguments: argparse.Namespace, expected_s: float, measure: Measure[F], connections: int) -> F | None:
    """Runs `measure` within --deadline or `expected_s`. Prints its figures, and writes the report of --json.

    None if there are no figures; the reason is on stderr then.
    """
    header, busy = Header.of(arguments.command_line), machine.Busy()
    try:
        async with asyncio.timeout(arguments.deadline or expected_s):
            with bar(connections) as shown:
                found = await measure(arguments, shown)
    except TimeoutError:
        print("perf: no figures: the run took longer than its --deadline", file=sys.stderr)
        return None
    except RunFailed as error:
        print(f"perf: no figures: {error}", file=sys.stderr)
        return None
    report = {**header.to_json(), "machine_busy": busy.share(), **found.to_json()}
    print(found.table())
    if arguments.json:
        figures.write(Path(arguments.json), report)
    return found
