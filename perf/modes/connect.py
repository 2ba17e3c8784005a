"""How long clients take to connect at a given arrival rate, and what that costs the edges.

Opens connections on schedule, holds them, and reports connect times from the moment each was due, failures by cause,
and the memory and CPU of the edges before and after (from their own heartbeats on NATS).
"""

from __future__ import annotations

import argparse
import contextlib
import math

import msgspec

from perf import options, runner
from perf.load import target
from perf.load.fleet import Fleet
from perf.load.plan import Plan
from perf.load.tally import Tally
from perf.load.target import Target
from perf.report import machine, reliability, tables
from perf.report.distribution import Distribution, distribution
from perf.report.figures import Figures
from perf.report.progress_bar import Bar
from perf.servers import edge_watch, heartbeats_nats
from perf.servers.edge_watch import Changes, EdgeWatch, Maxima, PerConnection, Snapshot
from perf.settings import PerfSettings

SATURATED = 0.85
"""Above this share of all cores, work waits for a core more than for anything else."""


class Stages(msgspec.Struct):
    """The stages of one connect; their sum is the time from the actual start."""

    tcp: Distribution
    upgrade: Distribution
    reply: Distribution


class EdgeFigures(Figures):
    """All except the maxima are None without heartbeats of edges."""

    edge_rss_bytes: Changes | None
    edge_cpu_s: Changes | None
    edge_per_connection: PerConnection | None
    edge_maxima: dict[str, Maxima]


class ConnectFigures(Figures):
    """`token` is False if the clients connected without one."""

    FLAT = ("edges",)

    url: str
    token: bool
    machine_busy: float
    attempted: int
    connected: int
    failed: int
    failures: dict[str, int]
    lost_during_hold: int
    losses: dict[str, int]
    connect_s: Distribution
    connect_from_start_s: Distribution
    stages_s: Stages
    connects_per_s: float
    rate_asked_per_s: float
    lateness_s: Distribution
    generator_loop_lag_s: Distribution
    generator_cpu_s: float
    generator_starved: bool
    messages: int
    unanswered_goodbyes: int
    edges: EdgeFigures

    def table(self) -> str:
        rows: list[tables.Row] = [
            ("address", self.url),
            ("connected", f"{self.connected} of {self.attempted}, {self.connects_per_s} a second"),
            ("failed", tables.causes(self.failures)),
            ("lost during hold", tables.causes(self.losses)),
            ("connect, from due time", self.connect_s.in_ms() + " ms"),
            ("connect, from start", self.connect_from_start_s.in_ms() + " ms"),
            ("generator's lateness", self.lateness_s.in_ms() + " ms"),
            ("edges' memory", _change(self.edges.edge_rss_bytes, "MB", 1e6)),
            ("edges' CPU", _change(self.edges.edge_cpu_s, "s", 1)),
        ]
        if self.machine_busy > SATURATED:
            rows.append((reliability.CARE, f"the machine was {self.machine_busy:.0%} busy: clients waited for its CPU"))
        if self.generator_starved:
            advice = "use a lower --rate, more --processes, a quieter machine"
            rows.append((reliability.CARE, f"the generator was late itself: {advice}"))
        if not self.token:
            rows.append(("token", "none: no secret was found, the clients connected anonymously"))
        return tables.text(rows)


def _change(changes: Changes | None, unit: str, scale: float) -> str:
    if changes is None:
        return "not asked for"
    total = changes.total
    return f"{total.before / scale:.1f} to {total.after / scale:.1f} {unit} in {len(changes.edges)} edge(s)"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--url", help="on 127.0.0.0/8 or ::1 (default: where the running stack's Traefik passes TCP through, port 8002)"
    )
    options.add_stack_clients(parser, connections=1000, rate=500)
    parser.add_argument("--burst", action="store_true", help="all at once, instead of --rate")
    parser.add_argument("--hold", type=float, default=5.0, help="seconds to hold them, answering pings (%(default)s)")
    parser.add_argument("--nats-url", help='for the edges\' heartbeats; "" leaves their figures out')


async def run(arguments: argparse.Namespace, settings: PerfSettings) -> int:
    if arguments.burst:
        arguments.rate = math.inf
    at = target.parse(arguments.url or settings.websocket_url)
    dialect = options.dialect(arguments, settings, at.path)
    plan = options.plan(arguments, at, dialect)
    nats_url = settings.nats_url if arguments.nats_url is None else arguments.nats_url

    async def measure(arguments: argparse.Namespace, shown: Bar) -> ConnectFigures:
        return await _measure(plan, arguments, address(at), bool(dialect.token_secret), nats_url, shown)

    expected_s = options.expected_s(arguments, arguments.hold)
    figures = await runner.measured(arguments, expected_s, measure, arguments.connections)
    return int(figures is None or figures.connected != arguments.connections or bool(figures.lost_during_hold))


def address(at: Target) -> str:
    """Without the query, which may hold a token."""
    return f"ws://{target.authority(at.host, at.port)}{at.path.partition('?')[0]}"


async def _measure(
    plan: Plan, arguments: argparse.Namespace, url: str, token: bool, nats_url: str, shown: Bar
) -> ConnectFigures:
    async with contextlib.AsyncExitStack() as stack:
        watch = EdgeWatch()
        if nats_url:
            watch = await stack.enter_async_context(heartbeats_nats.listening(nats_url))
        fleet = await stack.enter_async_context(Fleet(plan, arguments.processes, shown.show))
        await heartbeats_nats.refreshed(watch)
        before = watch.snapshot()
        watch.reset_maxima()
        shown.phase("connecting")
        start, busy = fleet.begin(), machine.Busy()
        await fleet.until(lambda: fleet.settled, plan.settle_within_s)
        machine_busy = busy.share()
        shown.phase("holding")
        await heartbeats_nats.refreshed(watch)
        after = watch.snapshot()
        await fleet.until(lambda: False, arguments.hold)
        shown.phase("leaving")
        tally = await fleet.finish()
        edges = _edges(before, after, tally.progress.connected, watch.maxima())
    return _figures(tally, plan, start, url, token, machine_busy, edges)


def _edges(before: Snapshot, after: Snapshot, connected: int, maxima: dict[str, Maxima]) -> EdgeFigures:
    return EdgeFigures(
        edge_rss_bytes=edge_watch.rss_bytes(before, after) if before else None,
        edge_cpu_s=edge_watch.cpu_s(before, after) if before else None,
        edge_per_connection=edge_watch.per_connection(before, after, connected) if before else None,
        edge_maxima=maxima,
    )


def _figures(
    tally: Tally, plan: Plan, start: float, url: str, token: bool, machine_busy: float, edges: EdgeFigures
) -> ConnectFigures:
    progress = tally.progress
    connect_s, lateness_s = distribution(tally.connect_s), distribution(tally.lateness_s)
    ramp_s = tally.last_established_at - start
    return ConnectFigures(
        url=url,
        token=token,
        machine_busy=machine_busy,
        attempted=progress.attempted,
        connected=progress.connected,
        failed=progress.failed,
        failures=dict(tally.failures),
        lost_during_hold=progress.lost,
        losses=dict(tally.losses),
        connect_s=connect_s,
        connect_from_start_s=distribution(tally.connect_from_start_s),
        stages_s=Stages(distribution(tally.tcp_s), distribution(tally.upgrade_s), distribution(tally.reply_s)),
        connects_per_s=round(progress.connected / ramp_s, 1) if ramp_s > 0 else 0.0,
        rate_asked_per_s=plan.schedule.rate,
        lateness_s=lateness_s,
        generator_loop_lag_s=distribution(tally.loop_lag_s),
        generator_cpu_s=round(tally.cpu_s, 3),
        generator_starved=reliability.starved(lateness_s.p99, connect_s.p99),
        messages=tally.deliveries.messages,
        unanswered_goodbyes=tally.unanswered_closes,
        edges=edges,
    )
