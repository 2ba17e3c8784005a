"""What it costs to hold N clients: they connect, subscribe, and are pinged for T seconds.

Edges and NATS are perf's own. Reports losses, the pings that were answered, bytes of edge memory for each connection,
and the CPU that holding one of them for a second takes. With --broadcast RATE so many publications a second go to all
of them meanwhile. Exit code 1 when a client was lost or a delivery is missing.
"""

from __future__ import annotations

import argparse
from dataclasses import replace

from perf import client_options, delivery, own_clients, own_stack, reporting, summary
from perf.delivery import Delivery
from perf.fleet import Fleet
from perf.own_edge import OwnEdge
from perf.own_stack import OwnStack
from perf.pacing import Schedule
from perf.progress_bar import Bar
from perf.publisher import Publishing
from perf.refusal import Refusal
from perf.reporting import Report
from perf.settings import PerfSettings

SHARED, OWN = "log:all", "log:own-{i}"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    own_clients.add_arguments(parser, connections=5000)
    parser.add_argument("--hold", type=float, default=30.0, help="seconds (%(default)s)")
    parser.add_argument("--edges", type=int, default=1, help="edge processes (%(default)s)")
    parser.add_argument(
        "--ping-interval", type=float, default=10.0, help="seconds between an edge's pings (%(default)s)"
    )
    parser.add_argument("--broadcast", type=float, default=0.0, help="publications a second to all (%(default)s: none)")
    parser.add_argument("--own-channels", action="store_true", help="a channel for each, instead of one for all")


async def run(arguments: argparse.Namespace, settings: PerfSettings) -> int:
    if arguments.hold <= 0 or arguments.edges < 1:
        raise Refusal("--hold is above 0, --edges is at least 1")
    if arguments.broadcast and arguments.own_channels:
        raise Refusal("--broadcast goes to one channel that all listen to: leave --own-channels out")
    expected_s = client_options.expected_s(arguments, arguments.hold + 10 * arguments.edges)
    report = await reporting.reported(arguments, expected_s, measure, _readable, arguments.connections)
    return int(report is None or bool(report["lost"]) or bool(report["deliveries_lost"]))


async def measure(arguments: argparse.Namespace, shown: Bar, report: Report) -> None:
    pong_timeout = arguments.ping_interval * 0.6
    limits = {"client_ping_interval": arguments.ping_interval, "client_pong_timeout": pong_timeout}
    async with own_stack.running() as stack, stack.edges(arguments.edges, **limits) as edges:
        await _measure(arguments, stack, edges, shown, report)


async def _measure(
    arguments: argparse.Namespace, stack: OwnStack, edges: list[OwnEdge], shown: Bar, report: Report
) -> None:
    channel = OWN if arguments.own_channels else SHARED
    plan = replace(own_clients.plan(arguments, stack, edges, channel), sample_every=10)
    idle = delivery.usage(edges)
    async with delivery.held(plan, arguments.processes, shown) as fleet:
        connected = delivery.usage(edges)
        shown.phase("holding")
        broadcast = await _hold(arguments, stack, edges, fleet)
        held = delivery.usage(edges)
        pings = (await fleet.take()).pings + (broadcast.heard.pings if broadcast else 0)
        shown.phase("leaving")
        tally = await fleet.finish()
    count, holding_s = arguments.connections, held.cpu_s - connected.cpu_s
    report.update(
        connections=count,
        lost=tally.progress.lost,
        losses=dict(tally.losses),
        pings_answered=pings,
        pings_for_each=round(pings / count, 2),
        connect_s=summary.distribution(tally.connect_s),
        edge_cpu_s_connecting=round(connected.cpu_s - idle.cpu_s, 3),
        edge_cpu_s_holding=round(holding_s, 3),
        edge_cpu_us_for_each_connection_and_second=round(holding_s / count / arguments.hold * 1e6, 3),
        edge_rss_bytes=held.rss_bytes,
        edge_rss_bytes_for_each_connection=round((held.rss_bytes - idle.rss_bytes) / count),
        broadcast=broadcast.figures() if broadcast else None,
        deliveries_lost=broadcast.lost if broadcast else 0,
        generator_cpu_s=round(tally.cpu_s, 3),
        generator_loop_lag_s=summary.distribution(tally.loop_lag_s),
    )


async def _hold(arguments: argparse.Namespace, stack: OwnStack, edges: list[OwnEdge], fleet: Fleet) -> Delivery | None:
    if not arguments.broadcast:
        await fleet.until(lambda: False, arguments.hold)
        return None
    schedule = Schedule(round(arguments.broadcast * arguments.hold), arguments.broadcast)
    publishing = Publishing(stack.api(edges[0]), (SHARED,), schedule)
    return await delivery.deliver(fleet, publishing, arguments.connections, edges, arguments.hold + 30)


def _readable(report: Report) -> str:
    losses, broadcast, connect = report["losses"], report["broadcast"], report["connect_s"]
    assert isinstance(losses, dict) and isinstance(connect, dict)
    rows: list[tuple[str, object]] = [
        ("held", f"{report['connections']}, lost: {summary.causes(losses)}"),
        ("pings answered", f"{report['pings_answered']}, {report['pings_for_each']} by each"),
        ("connect, from due time", summary.milliseconds(connect) + " ms"),
        ("edge memory", f"{report['edge_rss_bytes_for_each_connection']} bytes for each"),
        ("edge CPU, connecting", f"{report['edge_cpu_s_connecting']} s"),
        ("edge CPU, holding", f"{report['edge_cpu_us_for_each_connection_and_second']} us for each and second"),
    ]
    if isinstance(broadcast, dict):
        rows += [
            ("delivered", f"{broadcast['delivered']} of {broadcast['expected']}"),
            ("age at delivery", summary.milliseconds(broadcast["age_s"]) + " ms"),
        ]
    return summary.table(rows)
