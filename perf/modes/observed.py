"""The cost of being observed: edges that are scraped and trace 1 % of all publishes, against edges that are not.

Edges and NATS are perf's own. Each round starts two edges of either kind, the order changing from round to round, and
has them do the same: take clients (as `accept`), let clients publish, fan out (as `fanout`), each by the CPU of the
first edge's process; and deliver at a light rate from the first edge to the clients of both, by the age at delivery.

Histograms and counters cannot be switched off. --before names another checkout for the edges that are not observed: one
without histograms and counters, prepared by `make install`. Exit code 1 if a delivery is missing.
"""

from __future__ import annotations

import argparse
import contextlib
from pathlib import Path
from typing import Final

from perf import options, runner
from perf.errors import Refusal
from perf.load import delivery
from perf.load.pacing import Schedule
from perf.load.publisher import Publishing
from perf.modes import step_costs
from perf.report import tables
from perf.report.distribution import Distribution, distribution, median_ratio
from perf.report.figures import Figures
from perf.report.progress_bar import Bar
from perf.servers.edge import OwnEdge
from perf.servers.observers import collector, scraped
from perf.servers.stack import OwnStack, running_stack
from perf.settings import PerfSettings

ON, OFF = "observed", "not observed"
SAMPLE_RATIO: Final = 0.01
EDGES: Final = 2
_ROOM: Final = "log:room"
_LIGHT: Final = 50.0  # publications a second, over which ages are taken


class ObservedFigures(Figures):
    """CPU microseconds of an edge for each step, by round, and the ages at delivery; ratios are medians over rounds.

    `span_bytes` is what the edges that are observed have sent to their collector.
    """

    connections: int
    before: str
    cpu_us: dict[str, dict[str, list[float]]]
    age_s: dict[str, list[Distribution]]
    ratio: dict[str, float]
    span_bytes: int
    lost: int

    def table(self) -> str:
        rows = step_costs.rows(self.cpu_us, self.ratio, ON, OFF)
        for name, ages in self.age_s.items():
            rows.append((f"age, {name}", " | ".join(f"{age.in_ms()} ms" for age in ages)))
        rows.append(("median age", f"{self.ratio['latency']} times that of those {OFF}"))
        rows.append(("spans", f"{self.span_bytes} bytes"))
        return tables.text([("clients", self.connections), *rows, ("missing", self.lost)])


def add_arguments(parser: argparse.ArgumentParser) -> None:
    step_costs.add_arguments(parser)
    parser.add_argument("--before", type=Path, help="the checkout of the edges that are not observed (default: this)")


async def run(arguments: argparse.Namespace, settings: PerfSettings) -> int:
    options.check_publishing(arguments)
    if arguments.before is not None and not (arguments.before / ".venv/bin/python").exists():
        raise Refusal(f"{arguments.before} has no .venv: run make install there")
    expected_s = 2 * arguments.rounds * 4 * options.expected_s(arguments, arguments.seconds + 30)
    figures = await runner.measured(arguments, expected_s, measure, arguments.connections)
    return int(figures is None or figures.lost != 0)


async def measure(arguments: argparse.Namespace, shown: Bar) -> ObservedFigures:
    cpu_us: dict[str, dict[str, list[float]]] = {step: {ON: [], OFF: []} for step in step_costs.STEPS}
    ages: dict[str, list[Distribution]] = {ON: [], OFF: []}
    lost = 0
    before = arguments.before.resolve() if arguments.before else None
    with collector() as spans:
        traced = {"tracing_endpoint": spans.endpoint, "tracing_sample_ratio": SAMPLE_RATIO}
        async with running_stack() as stack:
            for name in step_costs.in_turn(arguments.rounds, ON, OFF):
                async with contextlib.AsyncExitStack() as entered:
                    if name == ON:
                        edges = await entered.enter_async_context(stack.edges(EDGES, **traced))
                        await entered.enter_async_context(scraped(edges))
                    else:
                        edges = await entered.enter_async_context(stack.of(before).edges(EDGES))
                    costs = await step_costs.of_steps(stack, edges[0], arguments, shown)
                    age_s, missing = await _ages(stack, edges, arguments, shown)
                for step, figure in costs.cpu_us.items():
                    cpu_us[step][name].append(figure)
                ages[name].append(age_s)
                lost += costs.lost + missing
    medians = {name: [age.p50 or 0.0 for age in by_round] for name, by_round in ages.items()}
    return ObservedFigures(
        connections=arguments.connections,
        before=before.name if before else "",
        cpu_us=cpu_us,
        age_s=ages,
        ratio=step_costs.ratios(cpu_us, ON, OFF) | {"latency": median_ratio(medians[ON], medians[OFF])},
        span_bytes=spans.size,
        lost=lost,
    )


async def _ages(
    stack: OwnStack, edges: list[OwnEdge], arguments: argparse.Namespace, shown: Bar
) -> tuple[Distribution, int]:
    plan = options.own_plan(arguments, stack, edges, _ROOM)
    schedule = Schedule(max(1, round(_LIGHT * arguments.seconds)), _LIGHT)
    publishing = Publishing(stack.api(edges[0]), (_ROOM,), schedule, size=arguments.size)
    async with delivery.held(plan, arguments.processes, shown) as fleet:
        shown.phase("publishing")
        done = await delivery.deliver(fleet, publishing, arguments.connections, edges, arguments.seconds + 30)
        await fleet.finish()
    return distribution(done.deliveries.ages_s), done.lost
