"""What the limits of an edge cost: with limits that no client reaches, and without any, in turn.

Edges and NATS are perf's own. Each round starts an edge with the limits of `servers/channels.toml` and one with none,
the order changing from round to round, and has each do the same: take clients (as `accept`), let clients publish over
their own sockets into channels of their own, and fan out to all of them (as `fanout`). What counts is the CPU of the
edge's process for each client, publication and delivery. Exit code 1 if a delivery is missing.
"""

from __future__ import annotations

import argparse
import tomllib

from perf import options, runner
from perf.modes import step_costs
from perf.report import tables
from perf.report.figures import Figures
from perf.report.progress_bar import Bar
from perf.servers.stack import CHANNELS, running_stack
from perf.settings import PerfSettings

ON, OFF = "with limits", "without"


class LimitsFigures(Figures):
    """CPU microseconds of an edge for each step, by round; the ratios are medians over the rounds."""

    connections: int
    cpu_us: dict[str, dict[str, list[float]]]
    ratio: dict[str, float]
    lost: int

    def table(self) -> str:
        steps = step_costs.rows(self.cpu_us, self.ratio, ON, OFF)
        return tables.text([("clients", self.connections), *steps, ("missing", self.lost)])


def add_arguments(parser: argparse.ArgumentParser) -> None:
    step_costs.add_arguments(parser)


async def run(arguments: argparse.Namespace, settings: PerfSettings) -> int:
    options.check_publishing(arguments)
    expected_s = 2 * arguments.rounds * 3 * options.expected_s(arguments, arguments.seconds + 30)
    figures = await runner.measured(arguments, expected_s, measure, arguments.connections)
    return int(figures is None or figures.lost != 0)


async def measure(arguments: argparse.Namespace, shown: Bar) -> LimitsFigures:
    cpu_us: dict[str, dict[str, list[float]]] = {step: {ON: [], OFF: []} for step in step_costs.STEPS}
    lost = 0
    none = {f"limits_{name}": 0 for name in tomllib.loads(CHANNELS.read_text())["limits"]}
    async with running_stack() as stack:
        for name in step_costs.in_turn(arguments.rounds, ON, OFF):
            async with stack.edge(**(none if name == OFF else {})) as edge:
                costs = await step_costs.of_steps(stack, edge, arguments, shown)
            for step, figure in costs.cpu_us.items():
                cpu_us[step][name].append(figure)
            lost += costs.lost
    return LimitsFigures(
        connections=arguments.connections,
        cpu_us=cpu_us,
        ratio=step_costs.ratios(cpu_us, ON, OFF),
        lost=lost,
    )
