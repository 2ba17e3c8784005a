"""What it costs to hold N clients: they connect, subscribe, and are pinged for T seconds.

Edges and NATS are perf's own. Reports losses, the pings that were answered, bytes of edge memory for each connection,
and the CPU that holding one of them for a second takes. With --broadcast RATE so many publications a second go to all
of them meanwhile; with --shots N so many go to all of them afterwards, each when the one before has arrived. Exit
code 1 when a client did not connect or was lost, or a delivery is missing; no figures when over 1% did not connect.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict, dataclass, replace

from perf import client_options, delivery, kernel_memory, machine, own_clients, own_stack, reporting, summary
from perf.delivery import Delivery, Usage
from perf.fleet import Fleet
from perf.kernel_memory import KernelMemory
from perf.own_edge import OwnEdge
from perf.own_stack import OwnStack
from perf.pacing import Schedule
from perf.progress_bar import Bar
from perf.publisher import Publishing
from perf.refusal import Refusal
from perf.reporting import Report
from perf.settings import PerfSettings
from perf.tally import Tally

SHARED, OWN = "log:all", "log:own-{i}"
ENOUGH = 0.99
"""What share of the clients has to connect: some failures are a figure, many are another load."""

SHOT_WITHIN_S = 20.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    own_clients.add_arguments(parser, connections=5000)
    parser.add_argument("--edges", type=int, default=1, help="edge processes (%(default)s)")
    parser.add_argument("--broadcast", type=float, default=0.0, help="publications a second to all (%(default)s: none)")
    parser.add_argument("--own-channels", action="store_true", help="a channel for each, instead of one for all")
    add_holding(parser, hold_s=30.0, ping_interval_s=10.0, shots=0)


def add_holding(parser: argparse.ArgumentParser, hold_s: float, ping_interval_s: float, shots: int) -> None:
    parser.add_argument("--hold", type=float, default=hold_s, help="seconds (%(default)s)")
    parser.add_argument(
        "--ping-interval", type=float, default=ping_interval_s, help="seconds between an edge's pings (%(default)s)"
    )
    parser.add_argument("--shots", type=int, default=shots, help="single publications to all afterwards (%(default)s)")


def check(arguments: argparse.Namespace) -> None:
    """Raises `Refusal`."""
    if arguments.hold <= 0 or arguments.ping_interval <= 0 or arguments.edges < 1 or arguments.shots < 0:
        raise Refusal("--hold and --ping-interval are above 0, --edges is at least 1, --shots is not below 0")
    if (arguments.broadcast or arguments.shots) and arguments.own_channels:
        raise Refusal("--broadcast and --shots go to one channel that all listen to: leave --own-channels out")


def expected_s(arguments: argparse.Namespace) -> float:
    """A bound on the whole run."""
    publishing_s = arguments.shots * (SHOT_WITHIN_S + delivery.LAST_WORDS_S)
    return client_options.expected_s(arguments, arguments.hold + 10 * arguments.edges + publishing_s)


async def run(arguments: argparse.Namespace, settings: PerfSettings) -> int:
    check(arguments)
    report = await reporting.reported(arguments, expected_s(arguments), measure, _readable, arguments.connections)
    return int(report is None or went_wrong(report))


def went_wrong(report: Report) -> bool:
    return any(report[name] for name in ("failed", "lost", "deliveries_lost"))


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
    idle, connecting = Weight.of(edges), machine.Busy()
    async with delivery.held(plan, arguments.processes, shown, ENOUGH) as fleet:
        report.update(machine_busy_connecting=connecting.share())
        count = fleet.progress.connected
        shown.phase("holding")
        await fleet.take()
        connected, holding = delivery.usage(edges), machine.Busy()
        broadcast = await _hold(arguments, stack, edges, fleet, count)
        held = Weight.of(edges)
        pings = (await fleet.take()).pings + (broadcast.heard.pings if broadcast else 0)
        report.update(
            machine_busy_holding=holding.share(), pings_answered=pings, pings_for_each=round(pings / count, 2)
        )
        shots = await _shoot(arguments, stack, edges, fleet, count)
        shown.phase("leaving")
        tally = await fleet.finish()
    report.update(_clients(tally))
    report.update(_costs(arguments, count, idle, connected, held))
    report.update(
        broadcast=broadcast.figures() if broadcast else None,
        shots=[shot.figures() for shot in shots],
        deliveries_lost=sum(one.lost for one in (broadcast, *shots) if one),
    )


async def _hold(
    arguments: argparse.Namespace, stack: OwnStack, edges: list[OwnEdge], fleet: Fleet, count: int
) -> Delivery | None:
    if not arguments.broadcast:
        await fleet.until(lambda: False, arguments.hold)
        return None
    schedule = Schedule(round(arguments.broadcast * arguments.hold), arguments.broadcast)
    publishing = Publishing(stack.api(edges[0]), (SHARED,), schedule)
    return await delivery.deliver(fleet, publishing, count, edges, arguments.hold + 30)


async def _shoot(
    arguments: argparse.Namespace, stack: OwnStack, edges: list[OwnEdge], fleet: Fleet, count: int
) -> list[Delivery]:
    publishing = Publishing(stack.api(edges[0]), (SHARED,), Schedule(1, 1.0))
    shots = range(arguments.shots)
    return [await delivery.deliver(fleet, publishing, count, edges, SHOT_WITHIN_S) for _ in shots]


@dataclass(frozen=True)
class Weight:
    """Of all edges, and of the kernel, at one moment."""

    usage: Usage
    heap_bytes: int
    kernel: KernelMemory

    @classmethod
    def of(cls, edges: list[OwnEdge]) -> Weight:
        return cls(delivery.usage(edges), sum(edge.heap_bytes() for edge in edges), kernel_memory.now())


def _clients(tally: Tally) -> Report:
    progress = tally.progress
    return {
        "connections": progress.connected,
        "failed": progress.failed,
        "failures": dict(tally.failures),
        "lost": progress.lost,
        "losses": dict(tally.losses),
        "connect_s": summary.distribution(tally.connect_s),
        "lateness_s": summary.distribution(tally.lateness_s),
        "generator_cpu_s": round(tally.cpu_s, 3),
        "generator_loop_lag_s": summary.distribution(tally.loop_lag_s),
    }


def _costs(arguments: argparse.Namespace, count: int, idle: Weight, connected: Usage, held: Weight) -> Report:
    """CPU of a connect is without that of holding those who were there before: half of them, while all connect."""
    connecting_s, holding_s = connected.cpu_s - idle.usage.cpu_s, held.usage.cpu_s - connected.cpu_s
    held_meanwhile_s = holding_s / arguments.hold * arguments.connections / arguments.rate / 2
    return {
        "edge_cpu_s_connecting": round(connecting_s, 3),
        "edge_cpu_s_holding": round(holding_s, 3),
        "edge_cpu_us_for_each_connect": round(max(0.0, connecting_s - held_meanwhile_s) / count * 1e6, 1),
        "edge_cpu_us_for_each_connection_and_second": round(holding_s / count / arguments.hold * 1e6, 3),
        "edge_rss_bytes": held.usage.rss_bytes,
        "edge_rss_bytes_for_each_connection": round((held.usage.rss_bytes - idle.usage.rss_bytes) / count),
        "edge_heap_bytes_for_each_connection": round((held.heap_bytes - idle.heap_bytes) / count),
        "kernel_bytes_for_each_connection": round((held.kernel.slab - idle.kernel.slab) / count),  # both ends
        "kernel_before": asdict(idle.kernel),
        "kernel_held": asdict(held.kernel),
    }


def _readable(report: Report) -> str:
    failures, losses, broadcast = report["failures"], report["losses"], report["broadcast"]
    connect, shots = report["connect_s"], report["shots"]
    assert isinstance(failures, dict) and isinstance(losses, dict)
    assert isinstance(connect, dict) and isinstance(shots, list)
    rows: list[tuple[str, object]] = [
        ("held", f"{report['connections']}, lost: {summary.causes(losses)}"),
        ("did not connect", summary.causes(failures)),
        ("pings answered", f"{report['pings_answered']}, {report['pings_for_each']} by each"),
        ("connect, from due time", summary.milliseconds(connect) + " ms"),
        ("edge memory", f"{report['edge_rss_bytes_for_each_connection']} bytes for each"),
        ("kernel memory, both ends", f"{report['kernel_bytes_for_each_connection']} bytes for each"),
        ("edge CPU, connecting", f"{report['edge_cpu_us_for_each_connect']} us for each"),
        ("edge CPU, holding", f"{report['edge_cpu_us_for_each_connection_and_second']} us for each and second"),
    ]
    for one in (broadcast, *shots):
        if isinstance(one, dict):
            rows += [
                ("delivered", f"{one['delivered']} of {one['expected']}"),
                ("age at delivery", summary.milliseconds(one["age_s"]) + " ms"),
            ]
    return summary.table(rows)
