"""What the limits of an edge cost: with limits that no client reaches, and without any, in turn.

Edges and NATS are perf's own. Each round starts an edge with the limits of `servers/channels.toml` and one with none,
the order changing from round to round, and has each do the same: take clients (as `accept`), let clients publish over
their own sockets into channels of their own, and fan out to all of them (as `fanout`). What counts is the CPU of the
edge's process for each client, publication and delivery. Exit code 1 if a delivery is missing.
"""

from __future__ import annotations

import argparse
import statistics
import tomllib
from dataclasses import replace

from perf import options, runner
from perf.load import delivery
from perf.load.pacing import Schedule
from perf.load.plan import ClientPublishing
from perf.modes import accept, chat, fanout
from perf.report import tables
from perf.report.figures import Figures
from perf.report.progress_bar import Bar
from perf.servers.edge import OwnEdge
from perf.servers.stack import CHANNELS, OwnStack, running_stack
from perf.settings import PerfSettings

ON, OFF = "with limits", "without"
STEPS = {"accept": "a client taken", "publish": "a publication of a client", "fanout": "a delivery"}


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
                    cpu_us["accept"][name].append(await _accept(stack, edge, arguments, shown))
                    published, missing = await _publish(stack, edge, arguments, shown)
                    cpu_us["publish"][name].append(published)
                    delivered, more_missing = await _fan_out(stack, edge, arguments, shown)
                    cpu_us["fanout"][name].append(delivered)
                    lost += missing + more_missing
    return LimitsFigures(
        connections=arguments.connections,
        cpu_us=cpu_us,
        ratio={step: _median_ratio(by_name[ON], by_name[OFF]) for step, by_name in cpu_us.items()},
        lost=lost,
    )


def _median_ratio(ours: list[float], theirs: list[float]) -> float:
    return round(statistics.median(one / max(other, 1e-9) for one, other in zip(ours, theirs, strict=True)), 3)


async def _accept(stack: OwnStack, edge: OwnEdge, arguments: argparse.Namespace, shown: Bar) -> float:
    plan = options.own_plan(arguments, stack, [edge], "log:shared")
    return round(await accept.cpu_s_for_each(edge, plan, arguments.processes, shown) * 1e6, 1)


async def _publish(stack: OwnStack, edge: OwnEdge, arguments: argparse.Namespace, shown: Bar) -> tuple[float, int]:
    """Each client is alone in its channel: a publication is stored, answered, and delivered once."""
    plan = options.own_plan(arguments, stack, [edge], "log:own-{i}")
    schedule = Schedule(round(arguments.publish_rate * arguments.seconds), arguments.publish_rate)
    plan = replace(plan, client_publishing=ClientPublishing(schedule, arguments.size))
    async with delivery.held(plan, arguments.processes, shown) as fleet:
        shown.phase("publishing")
        found = await chat.chat(fleet, schedule.count, 1, arguments.seconds, [edge])
        await fleet.finish()
    return round(found.cost.cpu_s / max(1, found.published.accepted) * 1e6, 1), found.lost


async def _fan_out(stack: OwnStack, edge: OwnEdge, arguments: argparse.Namespace, shown: Bar) -> tuple[float, int]:
    saturating = argparse.Namespace(**{**vars(arguments), "publish_rate": 0})
    plan = options.own_plan(arguments, stack, [edge], fanout.LOGGED)
    found = await fanout.fan_out(edge, plan, stack.api(edge), saturating, shown)
    return round(1e6 / max(found.per_cpu_s, 1e-9), 3), found.lost
