"""A killed edge: all of its clients reconnect at once to another edge, and get what they missed.

Edges and NATS are perf's own. While publications go on, the clients' edge gets SIGKILL. Each client connects to the
other edge as soon as it sees the cut, without the waiting that SDKs do, and recovers from its position. Reports how
long it takes until all are back, how many were promised that nothing is missing, and whether that is true: each client
follows the numbers of its channel. Exit code 1 if a client did not reconnect, or anything was lost or came twice.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from dataclasses import replace

from perf import options, runner
from perf.errors import Refusal
from perf.load import delivery
from perf.load.fleet import Fleet
from perf.load.pacing import Schedule
from perf.load.plan import Plan
from perf.load.publisher import Published, Publishing
from perf.load.publisher_process import PublisherProcess
from perf.report import recovery, tables
from perf.report.distribution import Distribution, distribution
from perf.report.figures import Figures
from perf.report.progress_bar import Bar
from perf.servers.edge import OwnEdge
from perf.servers.stack import OwnStack, running_stack
from perf.settings import PerfSettings

KILL_AT = 0.3
"""As a share of the time of publishing."""

BACK_WITHIN_S = 30.0
BIN_S = 0.25


class StormFigures(Figures):
    """`back` clients reconnected; of these `recovered` were promised that nothing is missing."""

    connections: int
    published: int
    publish_failures: dict[str, int]
    lost_connections: int
    back: int
    back_after_kill_s: Distribution
    back_by_quarter_second: dict[str, int]
    comeback_failures: dict[str, int]
    recovered: int
    expected: int
    delivered: int
    gaps: int
    repeats: int
    age_s: Distribution
    refuge_cpu_s: float
    generator_loop_lag_s: Distribution
    broken_promises: list[str]

    def table(self) -> str:
        return tables.text(
            [
                ("reconnected", f"{self.back} of {self.connections}, {self.recovered} recovered"),
                ("after the kill", self.back_after_kill_s.in_ms() + " ms"),
                ("failed attempts", tables.causes(self.comeback_failures)),
                ("delivered", f"{self.delivered} of {self.expected}"),
                ("order", f"{self.gaps} gaps, {self.repeats} repeats"),
                ("age, the storm included", self.age_s.in_ms() + " ms"),
                ("other edge's CPU", f"{self.refuge_cpu_s} s until all were back"),
                ("verdict", tables.verdict(self.broken_promises)),
            ]
        )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    options.add_own_clients(parser, connections=2000)
    options.add_publishing(parser, rate=100, seconds=10)
    parser.add_argument("--channels", type=int, default=20, help="how many (%(default)s)")


async def run(arguments: argparse.Namespace, settings: PerfSettings) -> int:
    options.check_publishing(arguments)
    if not arguments.publish_rate or arguments.connections % arguments.channels:
        raise Refusal("--publish-rate is above 0, and --connections a multiple of --channels")
    expected_s = options.expected_s(arguments, arguments.seconds + BACK_WITHIN_S + 30)
    figures = await runner.measured(arguments, expected_s, measure, arguments.connections)
    return int(figures is None or bool(figures.broken_promises))


async def measure(arguments: argparse.Namespace, shown: Bar) -> StormFigures:
    async with running_stack() as stack, stack.edge() as refuge, stack.edge() as victim:
        return await _measure(arguments, stack, refuge, victim, shown)


async def _measure(
    arguments: argparse.Namespace, stack: OwnStack, refuge: OwnEdge, victim: OwnEdge, shown: Bar
) -> StormFigures:
    plan = options.own_plan(arguments, stack, [victim], "log:storm-{room}", arguments.channels)
    plan = replace(plan, ordered=True, reconnect_port=refuge.port)
    async with delivery.held(plan, arguments.processes, shown) as fleet:
        before = refuge.usage()
        killed_at, published, after = await _storm(arguments, plan, stack, fleet, refuge, victim, shown)
        subscribers = arguments.connections // arguments.channels
        expected = published.accepted * subscribers
        await fleet.until(lambda: fleet.progress.messages >= expected, delivery.LAST_DELIVERY_S)
        shown.phase("leaving")
        tally = await fleet.finish()
    deliveries, back_s = tally.deliveries, [at - killed_at for at in tally.reconnected_at]
    figures = StormFigures(
        connections=arguments.connections,
        published=published.accepted,
        publish_failures=dict(published.failures),
        lost_connections=tally.progress.lost,
        back=tally.progress.reconnected,
        back_after_kill_s=distribution(back_s),
        back_by_quarter_second=_bins(back_s),
        comeback_failures=dict(tally.reconnect_failures),
        recovered=tally.recovered,
        expected=expected,
        delivered=deliveries.messages,
        gaps=deliveries.gaps,
        repeats=deliveries.repeats,
        age_s=distribution(deliveries.ages_s),
        refuge_cpu_s=round(after[1] - before[1], 3),
        generator_loop_lag_s=distribution(tally.loop_lag_s),
        broken_promises=[],
    )
    figures.broken_promises = recovery.broken_promises(figures)
    return figures


async def _storm(
    arguments: argparse.Namespace,
    plan: Plan,
    stack: OwnStack,
    fleet: Fleet,
    refuge: OwnEdge,
    victim: OwnEdge,
    shown: Bar,
) -> tuple[float, Published, tuple[int, float]]:
    """When the edge was killed, what was published, and what the other edge had used when all were back."""
    schedule = Schedule(round(arguments.publish_rate * arguments.seconds), arguments.publish_rate)
    publishing = Publishing(stack.api(refuge), plan.dialect.channels(), schedule, size=arguments.size)
    async with PublisherProcess(publishing) as publisher:
        shown.phase("publishing")
        publisher.begin()
        await fleet.until(lambda: False, arguments.seconds * KILL_AT)
        shown.phase("killed")
        killed_at = time.monotonic()
        victim.kill()
        await fleet.until(lambda: fleet.progress.reconnected >= arguments.connections, BACK_WITHIN_S)
        after = refuge.usage()
        return killed_at, await publisher.finished(arguments.seconds + 30), after


def _bins(seconds: list[float]) -> dict[str, int]:
    counted = Counter(int(one / BIN_S) for one in seconds)
    return {f"{number * BIN_S:.2f}": counted[number] for number in sorted(counted)}
