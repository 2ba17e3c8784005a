"""How long clients take to connect at a given arrival rate, and what that costs the edges.

Opens connections on schedule, holds them, and reports connect times from the moment each was due, failures by cause,
and the memory and CPU of the edges before and after (their own heartbeats on NATS).
"""

from __future__ import annotations

import argparse
import contextlib
import math

from perf import client_options, edge_watch, heartbeats_nats, machine, reporting, summary, target
from perf.edge_watch import EdgeWatch
from perf.fleet import Fleet
from perf.plan import Plan
from perf.progress_bar import Bar
from perf.reporting import Report
from perf.settings import PerfSettings
from perf.tally import Tally
from perf.target import Target

SATURATED = 0.85
"""Above this share of all cores, work waits for a core more than for anything else."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--url", help="on 127.0.0.0/8 or ::1 (default: where the running stack's Traefik passes TCP through, port 8002)"
    )
    client_options.add(parser, connections=1000, rate=500)
    parser.add_argument("--burst", action="store_true", help="all at once, instead of --rate")
    parser.add_argument("--hold", type=float, default=5.0, help="seconds to hold them, answering pings (%(default)s)")
    parser.add_argument("--nats-url", help='for the edges\' heartbeats; "" leaves their figures out')


async def run(arguments: argparse.Namespace, settings: PerfSettings) -> int:
    if arguments.burst:
        arguments.rate = math.inf
    at = target.parse(arguments.url or settings.websocket_url)
    dialect = client_options.dialect(arguments, settings, at.path)
    plan = client_options.plan(arguments, at, dialect)
    nats_url = settings.nats_url if arguments.nats_url is None else arguments.nats_url

    async def measure(arguments: argparse.Namespace, shown: Bar, report: Report) -> None:
        report["url"] = address(at)
        report["token"] = bool(dialect.token_secret)
        await _measure(plan, arguments, nats_url, shown, report)

    expected_s = client_options.expected_s(arguments, arguments.hold)
    report = await reporting.reported(arguments, expected_s, measure, _readable, arguments.connections)
    return int(report is None or report["connected"] != arguments.connections or bool(report["lost_during_hold"]))


def address(at: Target) -> str:
    """Without the query, which may hold a token."""
    return f"ws://{target.authority(at.host, at.port)}{at.path.partition('?')[0]}"


async def _measure(plan: Plan, arguments: argparse.Namespace, nats_url: str, shown: Bar, report: Report) -> None:
    async with contextlib.AsyncExitStack() as stack:
        watch = EdgeWatch()
        if nats_url:
            watch = await stack.enter_async_context(heartbeats_nats.listening(nats_url))
        fleet = await stack.enter_async_context(Fleet(plan, arguments.processes, shown.show))
        await heartbeats_nats.refreshed(watch)
        before = watch.snapshot()
        watch.forget_maxima()
        shown.phase("connecting")
        start, busy = fleet.begin(), machine.Busy()
        await fleet.until(lambda: fleet.settled, client_options.settle_within_s(plan))
        report["machine_busy"] = busy.share()
        shown.phase("holding")
        await heartbeats_nats.refreshed(watch)
        after = watch.snapshot()
        await fleet.until(lambda: False, arguments.hold)
        shown.phase("leaving")
        tally = await fleet.finish()
        report.update(_figures(tally, plan, start))
        report["edge_rss_bytes"] = edge_watch.rss_bytes(before, after) if before else None
        report["edge_cpu_s"] = edge_watch.cpu_s(before, after) if before else None
        report["edge_per_connection"] = (
            edge_watch.per_connection(before, after, tally.progress.connected) if before else None
        )
        report["edge_maxima"] = watch.maxima()


def _figures(tally: Tally, plan: Plan, start: float) -> Report:
    progress = tally.progress
    connect, lateness = summary.distribution(tally.connect_s), summary.distribution(tally.lateness_s)
    ramp_s = tally.last_established_at - start
    return {
        "attempted": progress.attempted,
        "connected": progress.connected,
        "failed": progress.failed,
        "failures": dict(tally.failures),
        "lost_during_hold": progress.lost,
        "losses": dict(tally.losses),
        "connect_s": connect,
        "connect_from_start_s": summary.distribution(tally.connect_from_start_s),
        "stages_s": {
            "tcp": summary.distribution(tally.tcp_s),
            "upgrade": summary.distribution(tally.upgrade_s),
            "reply": summary.distribution(tally.reply_s),
        },
        "connects_per_s": round(progress.connected / ramp_s, 1) if ramp_s > 0 else 0.0,
        "rate_asked_per_s": plan.schedule.rate,
        "lateness_s": lateness,
        "generator_loop_lag_s": summary.distribution(tally.loop_lag_s),
        "generator_cpu_s": round(tally.cpu_s, 3),
        "generator_starved": client_options.starved(lateness["p99"], connect["p99"]),
        "messages": tally.heard.messages,
        "unanswered_goodbyes": tally.unanswered_goodbyes,
    }


def _readable(report: Report) -> str:
    def distribution(name: str) -> str:
        figures = report[name]
        return summary.milliseconds(figures) if isinstance(figures, dict) else "-"

    def change(name: str, unit: str, scale: float) -> str:
        figures = report[name]
        if not isinstance(figures, dict):
            return "not asked for"
        total = figures["total"]
        return (
            f"{total['before'] / scale:.1f} to {total['after'] / scale:.1f} {unit} in {len(figures['edges'])} edge(s)"
        )

    failures, losses = report["failures"], report["losses"]
    assert isinstance(failures, dict) and isinstance(losses, dict)
    rows: list[tuple[str, object]] = [
        ("address", report["url"]),
        ("connected", f"{report['connected']} of {report['attempted']}, {report['connects_per_s']} a second"),
        ("failed", summary.causes(failures)),
        ("lost during hold", summary.causes(losses)),
        ("connect, from due time", distribution("connect_s") + " ms"),
        ("connect, from start", distribution("connect_from_start_s") + " ms"),
        ("generator's lateness", distribution("lateness_s") + " ms"),
        ("edges' memory", change("edge_rss_bytes", "MB", 1e6)),
        ("edges' CPU", change("edge_cpu_s", "s", 1)),
    ]
    if isinstance(report["machine_busy"], float) and report["machine_busy"] > SATURATED:
        rows.append(
            ("READ WITH CARE", f"the machine was {report['machine_busy']:.0%} busy: the waiting is for its CPU")
        )
    if report["generator_starved"]:
        rows.append(
            ("READ WITH CARE", "the generator was late itself: fewer --rate, more --processes, a quieter machine")
        )
    if not report["token"]:
        rows.append(("token", "none: no secret was found, the clients connected anonymously"))
    return summary.table(rows)
