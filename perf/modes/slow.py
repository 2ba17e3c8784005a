"""What slow clients do to healthy ones: K of N subscribers of a channel stop reading.

Edge and NATS are perf's own. The same publications are sent twice: while all clients read, and while K do not. Reports
the ages that the healthy clients see in both, and the edge's memory. The data that a client does not read must be
bounded: the kernel's buffers (some megabytes for each client, not in these figures) fill first, then the edge stops
writing to that client and counts it as slow. Exit code 1 if a healthy client missed a delivery, the edge grew by more
than --memory-bound for each client that does not read, or too little was published for any of them to be slow.
"""

from __future__ import annotations

import argparse
from dataclasses import replace

from perf import options, runner
from perf.errors import Refusal
from perf.load import delivery
from perf.load.delivery import Delivery, DeliveryFigures
from perf.load.pacing import Schedule
from perf.load.publisher import Publishing
from perf.report import tables
from perf.report.distribution import Distribution, distribution
from perf.report.figures import Figures
from perf.report.progress_bar import Bar
from perf.servers.edge import OwnEdge
from perf.servers.stack import OwnStack, running_stack
from perf.settings import PerfSettings

LAGGED = "fairlead_edge_lagged_total"


class SlowFigures(Figures):
    """`deaf` clients stop reading; `lagged` is how often the edge counted one as slow."""

    connections: int
    deaf: int
    all_read: DeliveryFigures
    some_deaf: DeliveryFigures
    edge_rss_bytes_grown: int
    edge_rss_bytes_for_each_deaf: int
    lagged: int
    losses: dict[str, int]
    generator_loop_lag_s: Distribution
    broken_promises: list[str]

    def table(self) -> str:
        before, after = self.all_read, self.some_deaf
        return tables.text(
            [
                ("subscribers", f"{self.connections}, of which {self.deaf} stop reading"),
                ("age while all read", before.age_s.in_ms() + " ms"),
                ("age of the healthy then", after.age_s.in_ms() + " ms"),
                ("edge CPU", f"{before.edge_cpu_s} s while all read, {after.edge_cpu_s} s then"),
                ("slow", f"{self.lagged} times"),
                ("edge memory", f"grew by {self.edge_rss_bytes_for_each_deaf} bytes for each that does not read"),
                ("connections lost", tables.causes(self.losses)),
                ("verdict", tables.verdict(self.broken_promises)),
            ]
        )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    options.add_own_clients(parser, connections=100)
    options.add_publishing(parser, rate=100, seconds=8, size=16384)
    parser.add_argument("--deaf", type=int, default=10, help="of them that stop reading (%(default)s)")
    parser.add_argument("--live", action="store_true", help="a channel without history, whose policy is to drop")
    parser.add_argument(
        "--memory-bound", type=int, default=256 * 1024, help="bytes of edge memory for each of those (%(default)s)"
    )


async def run(arguments: argparse.Namespace, settings: PerfSettings) -> int:
    options.check_publishing(arguments)
    if not arguments.publish_rate or not 0 < arguments.deaf < arguments.connections:
        raise Refusal("--publish-rate is above 0, and --deaf above 0 and below --connections")
    expected_s = options.expected_s(arguments, 2 * arguments.seconds + 60)
    figures = await runner.measured(arguments, expected_s, measure, arguments.connections)
    return int(figures is None or bool(figures.broken_promises))


async def measure(arguments: argparse.Namespace, shown: Bar) -> SlowFigures:
    async with running_stack() as stack, stack.edge() as edge:
        return await _measure(arguments, stack, edge, shown)


async def _measure(arguments: argparse.Namespace, stack: OwnStack, edge: OwnEdge, shown: Bar) -> SlowFigures:
    channel = "live:slow" if arguments.live else "log:slow"
    plan = replace(options.own_plan(arguments, stack, [edge], channel), sample_every=5)
    schedule = Schedule(round(arguments.publish_rate * arguments.seconds), arguments.publish_rate)
    publishing = Publishing(stack.api(edge), (channel,), schedule, size=arguments.size)
    healthy = arguments.connections - arguments.deaf
    async with delivery.held(plan, arguments.processes, shown) as fleet:

        async def phase(name: str, subscribers: int) -> Delivery:
            shown.phase(name)
            return await delivery.deliver(fleet, publishing, subscribers, [edge], arguments.seconds + 30)

        all_read = await phase("all read", arguments.connections)
        fleet.stop_reading(arguments.deaf)
        lagged = await edge.metric(LAGGED)
        some_deaf = await phase("some do not", healthy)
        lagged = round(await edge.metric(LAGGED) - lagged)
        shown.phase("leaving")
        tally = await fleet.finish()
    grown = some_deaf.cost.rss_bytes - all_read.cost.rss_bytes
    figures = SlowFigures(
        connections=arguments.connections,
        deaf=arguments.deaf,
        all_read=all_read.figures(),
        some_deaf=some_deaf.figures(),
        edge_rss_bytes_grown=grown,
        edge_rss_bytes_for_each_deaf=round(grown / arguments.deaf),
        lagged=lagged,
        losses=dict(tally.losses),
        generator_loop_lag_s=distribution(tally.loop_lag_s),
        broken_promises=[],
    )
    figures.broken_promises = broken_promises(figures, all_read.lost, some_deaf.lost, arguments.memory_bound)
    return figures


def broken_promises(figures: SlowFigures, lost_before: int, lost: int, memory_bound: int) -> list[str]:
    """The broken promises, in words; empty if all were kept. `lost` may be negative: a client may still read what was
    on its way."""
    broken = []
    if not figures.lagged:
        broken.append("no client lagged: publish more, longer or larger")
    if lost_before:
        broken.append(f"{lost_before} deliveries were missing while all read")
    if lost > 0:
        broken.append(f"healthy clients missed {lost} deliveries")
    grown = figures.edge_rss_bytes_for_each_deaf
    if grown > memory_bound:
        broken.append(f"the edge grew by {grown} bytes for each client that does not read")
    return broken
