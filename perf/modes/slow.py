"""What slow clients do to healthy ones: K of N subscribers of a channel stop reading.

Edge and NATS are perf's own. The same publications go out twice: while all read, and while K do not. Reports the ages
that the healthy see in both, and the edge's memory. What a deaf client cannot take must be bounded: the kernel's
buffers (some megabytes for each, in none of these figures) fill first, then the edge stops writing to it and counts it
as lagging. Exit code 1 when a healthy client missed a delivery, the edge grew by more than --memory-bound for each deaf
one, or too little was published for any of them to lag.
"""

from __future__ import annotations

import argparse
from dataclasses import replace

from perf import client_options, delivery, own_clients, own_stack, reporting, summary
from perf.delivery import Delivery
from perf.own_edge import OwnEdge
from perf.own_stack import OwnStack
from perf.pacing import Schedule
from perf.progress_bar import Bar
from perf.publisher import Publishing
from perf.refusal import Refusal
from perf.reporting import Report
from perf.settings import PerfSettings

LAGGED = "fairlead_edge_lagged_total"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    own_clients.add_arguments(parser, connections=100)
    own_clients.add_publishing(parser, rate=100, seconds=8, size=16384)
    parser.add_argument("--deaf", type=int, default=10, help="of them that stop reading (%(default)s)")
    parser.add_argument("--live", action="store_true", help="a channel without history, whose policy is to drop")
    parser.add_argument(
        "--memory-bound", type=int, default=256 * 1024, help="bytes of edge memory for each deaf client (%(default)s)"
    )


async def run(arguments: argparse.Namespace, settings: PerfSettings) -> int:
    own_clients.check_publishing(arguments)
    if not arguments.publish_rate or not 0 < arguments.deaf < arguments.connections:
        raise Refusal("--publish-rate is above 0, and --deaf above 0 and below --connections")

    expected_s = client_options.expected_s(arguments, 2 * arguments.seconds + 60)
    report = await reporting.reported(arguments, expected_s, measure, _readable, arguments.connections)
    return int(report is None or bool(report["broken_promises"]))


async def measure(arguments: argparse.Namespace, shown: Bar, report: Report) -> None:
    async with own_stack.running() as stack, stack.edge() as edge:
        await _measure(arguments, stack, edge, shown, report)


async def _measure(arguments: argparse.Namespace, stack: OwnStack, edge: OwnEdge, shown: Bar, report: Report) -> None:
    channel = "live:slow" if arguments.live else "log:slow"
    plan = replace(own_clients.plan(arguments, stack, [edge], channel), sample_every=5)
    schedule = Schedule(round(arguments.publish_rate * arguments.seconds), arguments.publish_rate)
    publishing = Publishing(stack.api(edge), (channel,), schedule, size=arguments.size)
    healthy = arguments.connections - arguments.deaf
    async with delivery.held(plan, arguments.processes, shown) as fleet:

        async def phase(name: str, listeners: int) -> Delivery:
            shown.phase(name)
            return await delivery.deliver(fleet, publishing, listeners, [edge], arguments.seconds + 30)

        all_read = await phase("all read", arguments.connections)
        fleet.deafen(arguments.deaf)
        lagged = await edge.metric(LAGGED)
        some_deaf = await phase("some do not", healthy)
        lagged = round(await edge.metric(LAGGED) - lagged)
        shown.phase("leaving")
        tally = await fleet.finish()
    grown = some_deaf.edge.rss_bytes - all_read.edge.rss_bytes
    report.update(
        connections=arguments.connections,
        deaf=arguments.deaf,
        all_read=all_read.figures(),
        some_deaf=some_deaf.figures(),
        edge_rss_bytes_grown=grown,
        edge_rss_bytes_for_each_deaf=round(grown / arguments.deaf),
        lagged=lagged,
        losses=dict(tally.losses),
        generator_loop_lag_s=summary.distribution(tally.loop_lag_s),
    )
    report["broken_promises"] = broken_promises(report, all_read.lost, some_deaf.lost, arguments.memory_bound)


def broken_promises(report: Report, lost_before: int, lost: int, memory_bound: int) -> list[str]:
    """In words; empty when all is well. A deaf client may still take what was on its way when it stopped."""
    broken = []
    if not report["lagged"]:
        broken.append("no client lagged: publish more, longer or larger")
    if lost_before:
        broken.append(f"{lost_before} deliveries were missing while all read")
    if lost > 0:
        broken.append(f"healthy clients missed {lost} deliveries")
    grown = report["edge_rss_bytes_for_each_deaf"]
    assert isinstance(grown, int)
    if grown > memory_bound:
        broken.append(f"the edge grew by {grown} bytes for each deaf client")
    return broken


def _readable(report: Report) -> str:
    before, after, losses = report["all_read"], report["some_deaf"], report["losses"]
    broken = report["broken_promises"]
    assert isinstance(before, dict) and isinstance(after, dict)
    assert isinstance(losses, dict) and isinstance(broken, list)
    return summary.table(
        [
            ("subscribers", f"{report['connections']}, of which {report['deaf']} stop reading"),
            ("age while all read", summary.milliseconds(before["age_s"]) + " ms"),
            ("age of the healthy then", summary.milliseconds(after["age_s"]) + " ms"),
            ("edge CPU", f"{before['edge_cpu_s']} s while all read, {after['edge_cpu_s']} s then"),
            ("lagged", f"{report['lagged']} times"),
            ("edge memory", f"grew by {report['edge_rss_bytes_for_each_deaf']} bytes for each deaf client"),
            ("connections lost", summary.causes(losses)),
            ("verdict", "; ".join(broken) or "every promise kept"),
        ]
    )
