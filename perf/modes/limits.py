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
from perf.modes.step_costs import STEPS, median_ratio, of_steps
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
        def row(step: str, what: str) -> tuple[str, str]:
            listed = {name: "  ".join(map(str, by_round)) for name, by_round in self.cpu_us[step].items()}
            return what, f"{listed[ON]} us {ON}, {listed[OFF]} us {OFF}: {self.ratio[step]} times that"

        return tables.text(
            [("clients", self.connections), *(row(*each) for each in STEPS.items()), ("missing", self.lost)]
        )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    options.add_own_clients(parser, connections=1000)
    options.add_publishing(parser, rate=1000, seconds=4)
    parser.add_argument("--window", type=int, default=4, help="unanswered publications of the fan-out (%(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="measured so often, the median counts (%(default)s)")


async def run(arguments: argparse.Namespace, settings: PerfSettings) -> int:
    options.check_publishing(arguments)
    expected_s = 2 * arguments.rounds * 3 * options.expected_s(arguments, arguments.seconds + 30)
    figures = await runner.measured(arguments, expected_s, measure, arguments.connections)
    return int(figures is None or figures.lost != 0)


async def measure(arguments: argparse.Namespace, shown: Bar) -> LimitsFigures:
    cpu_us: dict[str, dict[str, list[float]]] = {step: {ON: [], OFF: []} for step in STEPS}
    lost = 0
    none = {f"limits_{name}": 0 for name in tomllib.loads(CHANNELS.read_text())["limits"]}
    async with running_stack() as stack:
        for number in range(arguments.rounds):
            for name in (ON, OFF) if number % 2 == 0 else (OFF, ON):
                async with stack.edge(**(none if name == OFF else {})) as edge:
                    costs = await of_steps(stack, edge, arguments, shown)
                    for step, figure in costs.cpu_us.items():
                        cpu_us[step][name].append(figure)
                    lost += costs.lost
    return LimitsFigures(
        connections=arguments.connections,
        cpu_us=cpu_us,
        ratio={step: median_ratio(by_name[ON], by_name[OFF]) for step, by_name in cpu_us.items()},
        lost=lost,
    )
