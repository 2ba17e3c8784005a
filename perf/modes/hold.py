"""What it costs to hold N clients: they connect, subscribe, and are pinged for T seconds.

Edges and NATS are perf's own. Reports losses, the pings that were answered, bytes of edge memory for each connection,
and the CPU of holding one of them for a second. With --broadcast RATE, RATE publications a second go to all of them
meanwhile; with --shots N, N publications go to all of them afterwards, each when the one before has arrived. Exit code
1 if a client did not connect or was lost, or a delivery is missing; no figures if over 1% did not connect.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace

from perf import options, runner
from perf.errors import Refusal
from perf.load import delivery
from perf.load.delivery import Delivery, DeliveryFigures, Usage
from perf.load.fleet import Fleet
from perf.load.pacing import Schedule
from perf.load.publisher import Publishing
from perf.report import kernel_memory, machine, tables
from perf.report.distribution import Distribution, distribution
from perf.report.figures import Figures
from perf.report.kernel_memory import KernelMemory
from perf.report.progress_bar import Bar
from perf.servers.edge import OwnEdge
from perf.servers.stack import OwnStack, running_stack
from perf.settings import PerfSettings

SHARED, OWN = "log:all", "log:own-{i}"
ENOUGH = 0.99
"""The share of the clients that has to connect: a few failures are a result, many make it a different load."""

SHOT_WITHIN_S = 20.0


class CostFigures(Figures):
    """The CPU of a connect excludes the cost of holding the clients that are already connected: half of all, on
    average, while all connect."""

    edge_cpu_s_connecting: float
    edge_cpu_s_holding: float
    edge_cpu_us_for_each_connect: float
    edge_cpu_us_for_each_connection_and_second: float
    edge_rss_bytes: int
    edge_rss_bytes_for_each_connection: int
    edge_heap_bytes_for_each_connection: int
    kernel_bytes_for_each_connection: int  # of both ends
    kernel_before: KernelMemory
    kernel_held: KernelMemory


class HoldFigures(Figures):
    FLAT = ("costs",)

    machine_busy_connecting: float
    machine_busy_holding: float
    pings_answered: int
    pings_for_each: float
    connections: int
    failed: int
    failures: dict[str, int]
    lost: int
    losses: dict[str, int]
    connect_s: Distribution
    lateness_s: Distribution
    generator_cpu_s: float
    generator_loop_lag_s: Distribution
    costs: CostFigures
    broadcast: DeliveryFigures | None
    shots: list[DeliveryFigures]
    deliveries_lost: int

    @property
    def went_wrong(self) -> bool:
        return bool(self.failed or self.lost or self.deliveries_lost)

    def table(self) -> str:
        costs = self.costs
        rows: list[tables.Row] = [
            ("held", f"{self.connections}, lost: {tables.causes(self.losses)}"),
            ("did not connect", tables.causes(self.failures)),
            ("pings answered", f"{self.pings_answered}, {self.pings_for_each} by each"),
            ("connect, from due time", self.connect_s.in_ms() + " ms"),
            ("edge memory", f"{costs.edge_rss_bytes_for_each_connection} bytes for each"),
            ("kernel memory, both ends", f"{costs.kernel_bytes_for_each_connection} bytes for each"),
            ("edge CPU, connecting", f"{costs.edge_cpu_us_for_each_connect} us for each"),
            ("edge CPU, holding", f"{costs.edge_cpu_us_for_each_connection_and_second} us for each and second"),
        ]
        for one in (self.broadcast, *self.shots):
            if one is not None:
                rows += [
                    ("delivered", f"{one.delivered} of {one.expected}"),
                    ("age at delivery", one.age_s.in_ms() + " ms"),
                ]
        return tables.text(rows)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    options.add_own_clients(parser, connections=5000)
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
    publishing_s = arguments.shots * (SHOT_WITHIN_S + delivery.LAST_DELIVERY_S)
    return options.expected_s(arguments, arguments.hold + 10 * arguments.edges + publishing_s)


async def run(arguments: argparse.Namespace, settings: PerfSettings) -> int:
    check(arguments)
    figures = await runner.measured(arguments, expected_s(arguments), measure, arguments.connections)
    return int(figures is None or figures.went_wrong)


async def measure(arguments: argparse.Namespace, shown: Bar) -> HoldFigures:
    pong_timeout = arguments.ping_interval * 0.6
    limits = {"client_ping_interval": arguments.ping_interval, "client_pong_timeout": pong_timeout}
    async with running_stack() as stack, stack.edges(arguments.edges, **limits) as edges:
        return await _measure(arguments, stack, edges, shown)


async def _measure(arguments: argparse.Namespace, stack: OwnStack, edges: list[OwnEdge], shown: Bar) -> HoldFigures:
    channel = OWN if arguments.own_channels else SHARED
    plan = replace(options.own_plan(arguments, stack, edges, channel), sample_every=10)
    idle, connecting = Memory.of(edges), machine.Busy()
    async with delivery.held(plan, arguments.processes, shown, ENOUGH) as fleet:
        busy_connecting = connecting.share()
        count = fleet.progress.connected
        shown.phase("holding")
        await fleet.take()
        connected, holding = delivery.usage(edges), machine.Busy()
        broadcast = await _hold(arguments, stack, edges, fleet, count)
        held = Memory.of(edges)
        pings = (await fleet.take()).pings + (broadcast.deliveries.pings if broadcast else 0)
        busy_holding = holding.share()
        shots = await _shoot(arguments, stack, edges, fleet, count)
        shown.phase("leaving")
        tally = await fleet.finish()
    return HoldFigures(
        machine_busy_connecting=busy_connecting,
        machine_busy_holding=busy_holding,
        pings_answered=pings,
        pings_for_each=round(pings / count, 2),
        connections=tally.progress.connected,
        failed=tally.progress.failed,
        failures=dict(tally.failures),
        lost=tally.progress.lost,
        losses=dict(tally.losses),
        connect_s=distribution(tally.connect_s),
        lateness_s=distribution(tally.lateness_s),
        generator_cpu_s=round(tally.cpu_s, 3),
        generator_loop_lag_s=distribution(tally.loop_lag_s),
        costs=_costs(arguments, count, idle, connected, held),
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
class Memory:
    """The memory of all edges, and of the kernel, at one moment, with the edges' CPU."""

    usage: Usage
    heap_bytes: int
    kernel: KernelMemory

    @classmethod
    def of(cls, edges: list[OwnEdge]) -> Memory:
        return cls(delivery.usage(edges), sum(edge.heap_bytes() for edge in edges), kernel_memory.now())


def _costs(arguments: argparse.Namespace, count: int, idle: Memory, connected: Usage, held: Memory) -> CostFigures:
    connecting_s, holding_s = connected.cpu_s - idle.usage.cpu_s, held.usage.cpu_s - connected.cpu_s
    held_meanwhile_s = holding_s / arguments.hold * arguments.connections / arguments.rate / 2
    return CostFigures(
        edge_cpu_s_connecting=round(connecting_s, 3),
        edge_cpu_s_holding=round(holding_s, 3),
        edge_cpu_us_for_each_connect=round(max(0.0, connecting_s - held_meanwhile_s) / count * 1e6, 1),
        edge_cpu_us_for_each_connection_and_second=round(holding_s / count / arguments.hold * 1e6, 3),
        edge_rss_bytes=held.usage.rss_bytes,
        edge_rss_bytes_for_each_connection=round((held.usage.rss_bytes - idle.usage.rss_bytes) / count),
        edge_heap_bytes_for_each_connection=round((held.heap_bytes - idle.heap_bytes) / count),
        kernel_bytes_for_each_connection=round((held.kernel.slab - idle.kernel.slab) / count),
        kernel_before=idle.kernel,
        kernel_held=held.kernel,
    )
