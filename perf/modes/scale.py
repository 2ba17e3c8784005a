"""How the cost of a connection changes with the number of connections: `hold` at several sizes, one after the other.

Each step has its own NATS, edges and client processes, as many as the limit of descriptors requires, and client
addresses of 127.77.0.0/16. The clients connect at a steady rate, subscribe to one channel, are held and pinged, and get
--shots publications, each when the one before has reached all of them. --results FOLDER writes scale.json, table.md and
charts. Exit code 1 if a client did not connect or was lost, or a delivery is missing.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import sys
from collections.abc import Sequence
from pathlib import Path

from perf import runner
from perf.errors import Refusal, RunFailed
from perf.load import target
from perf.modes import hold, scale_figures
from perf.modes.scale_figures import ScaleFigures, Step
from perf.report import figures, machine
from perf.report.figures import Header
from perf.report.progress_bar import Bar
from perf.settings import PerfSettings

SPARE_DESCRIPTORS = 500
"""The descriptors that an edge, or a process of clients, has left when its share of the connections is open."""

CLIENTS_OF_AN_ADDRESS = 2_000
"""An address has 28,000 ports; finding a free one costs nothing while few are taken."""

BETWEEN_STEPS_S = 3.0
"""The kernel tears down the sockets of a step in this time, so that the next one is not charged for it."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--steps", default="5000,20000,50000,100000", metavar="N,N", help="(%(default)s)")
    parser.add_argument("--connect-rate", type=float, dest="rate", default=1000.0, help="a second (%(default)s)")
    parser.add_argument("--connect-timeout", type=float, default=20.0, help="seconds for one connect (%(default)s)")
    parser.add_argument("--fill", type=int, help="connections for each process (default: the limit of descriptors)")
    hold.add_holding(parser, hold_s=30.0, ping_interval_s=25.0, shots=3)
    parser.add_argument("--results", metavar="FOLDER", help="write the figures, a table and charts there")
    runner.add_arguments(parser)


async def run(arguments: argparse.Namespace, settings: PerfSettings) -> int:
    steps = planned(arguments, machine.nofile(), machine.ephemeral_ports())
    expected_s = sum(hold.expected_s(step) + BETWEEN_STEPS_S for step in steps) + 10
    header = Header.of(arguments.command_line)

    async def measure(arguments: argparse.Namespace, shown: Bar) -> ScaleFigures:
        return await _climb(steps, header, arguments.results, shown)

    most = max(step.connections for step in steps)
    found = await runner.measured(arguments, expected_s, measure, most)
    if found is None:
        return 1
    for size, why in found.failures.items():
        print(f"perf: no figures for {size}: {why}", file=sys.stderr)
    return int(bool(found.failures) or any(step.held.went_wrong for step in found.steps))


def planned(arguments: argparse.Namespace, descriptors: int, ports_per_source: int) -> list[argparse.Namespace]:
    """The options of `hold` for each step. Raises `Refusal` for options with which no run can succeed."""
    try:
        sizes = [int(size) for size in arguments.steps.split(",")]
    except ValueError:
        raise Refusal(f"--steps {arguments.steps}: expected numbers, such as 5000,20000") from None
    if arguments.rate <= 0 or arguments.connect_timeout <= 0:
        raise Refusal("--connect-rate and --connect-timeout are above 0")
    fill = arguments.fill or descriptors - SPARE_DESCRIPTORS
    if not 0 < fill <= descriptors - SPARE_DESCRIPTORS:
        raise Refusal(f"--fill: a process may open {descriptors} descriptors, {SPARE_DESCRIPTORS} of them are spared")
    steps = []
    for size in sizes:
        processes = max(1, math.ceil(size / fill))
        spread = max(1, math.ceil(size / CLIENTS_OF_AN_ADDRESS))
        target.check_limits("127.0.0.1", size, processes, spread, descriptors, ports_per_source)
        steps.append(
            argparse.Namespace(
                connections=size,
                rate=arguments.rate,
                connect_timeout=arguments.connect_timeout,
                processes=processes,
                edges=processes,
                source_spread=spread,
                hold=arguments.hold,
                ping_interval=arguments.ping_interval,
                shots=arguments.shots,
                broadcast=0.0,
                own_channels=False,
            )
        )
        hold.check(steps[-1])
    return steps


async def _climb(steps: Sequence[argparse.Namespace], header: Header, results: str | None, shown: Bar) -> ScaleFigures:
    """Runs the steps. A failed step does not affect the others' figures; the figures so far are written after each
    step."""
    found = ScaleFigures(steps=[], failures={})
    for step in steps:
        try:
            async with asyncio.timeout(hold.expected_s(step)):
                held = await hold.measure(step, shown)
        except TimeoutError:
            found.failures[str(step.connections)] = f"it took longer than {hold.expected_s(step):.0f} s"
        except (RunFailed, OSError) as error:
            found.failures[str(step.connections)] = str(error)
        else:
            found.steps.append(
                Step(asked=step.connections, edges=step.edges, source_addresses=step.source_spread, held=held)
            )
        if results:
            _write(Path(results), header, found)
        await asyncio.sleep(BETWEEN_STEPS_S)
    return found


def _write(folder: Path, header: Header, found: ScaleFigures) -> None:
    figures.write(folder / "scale.json", {**header.to_json(), **found.to_json()})
    (folder / "table.md").write_text(found.table() + "\n")
    scale_figures.draw(folder, found.steps)
