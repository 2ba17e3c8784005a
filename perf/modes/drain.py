"""How an edge says goodbye: N clients are held on one edge, it gets SIGTERM, and every promise of a drain is checked.

The edge is perf's own, started beside the running stack (make up) on the same NATS, so that nobody else's clients are
stopped and its exit code is known. Reports the close codes that the clients saw, when they saw them, the exit code, the
seconds from the signal to the exit, and how many of the sessions have their end in PostgreSQL (asked of the sessions
service). --alone takes a NATS of perf's own, and leaves PostgreSQL out. --unpaced lets the edge close all at once,
which shows what the pace adds; 2 s are promised for that. Exit code 1 when a promise was broken.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import time
from collections import Counter
from dataclasses import replace
from functools import partial

from perf import client_options, failures, own_edge, own_stack, reporting, summary
from perf.fleet import Fleet
from perf.own_edge import OwnEdge
from perf.progress_bar import Bar
from perf.refusal import Refusal
from perf.reporting import Report
from perf.session_reads import SessionReads
from perf.settings import PerfSettings
from perf.tally import Tally
from perf.target import Target

PROMISED_EXIT_S = 10.0
PROMISED_UNPACED_EXIT_S = 2.0
UNPACED = {"FAIRLEAD_EDGE_DRAIN_DELAY": "0", "FAIRLEAD_EDGE_DRAIN_RATE": "0"}
STOP_WITHIN_S = 30.0
"""How long a drain that breaks its promise is watched before the edge is killed."""

LAST_WORDS_S = 2.0
"""What the clients' processes get to report closes after the edge has exited."""

BIN_S = 0.25


def add_arguments(parser: argparse.ArgumentParser) -> None:
    client_options.add(parser, connections=2000, rate=500)
    parser.add_argument("--alone", action="store_true", help="on a NATS of perf's own; no stack is needed")
    parser.add_argument("--unpaced", action="store_true", help="close all at once")
    parser.add_argument("--port", type=int, help="of perf's own edge (default: a free one)")
    parser.add_argument("--sessions-url", help='of the sessions service (default: that of the stack); "" leaves it out')
    parser.add_argument("--sessions-within", type=float, default=30.0, help="seconds for ends to appear (%(default)s)")


async def run(arguments: argparse.Namespace, settings: PerfSettings) -> int:
    expected_s = client_options.expected_s(arguments, STOP_WITHIN_S + 2 * arguments.sessions_within)
    report = await reporting.reported(
        arguments, expected_s, partial(measure, settings), _readable, arguments.connections
    )
    return int(report is None or bool(report["broken_promises"]))


async def measure(settings: PerfSettings, arguments: argparse.Namespace, shown: Bar, report: Report) -> None:
    async with contextlib.AsyncExitStack() as entered:
        reads = None if arguments.alone else _reads(arguments, settings)
        if arguments.alone:
            stack = await entered.enter_async_context(own_stack.running())
            settings = replace(settings, environ=stack.environ, token_secret=stack.token_secret)
        environ = {**settings.environ, **(UNPACED if arguments.unpaced else {})}
        edge = await entered.enter_async_context(own_edge.running(environ, arguments.port))
        await edge.ready()
        await _measure(arguments, settings, edge, reads, shown, report)


def _reads(arguments: argparse.Namespace, settings: PerfSettings) -> SessionReads | None:
    url = settings.sessions_url if arguments.sessions_url is None else arguments.sessions_url
    if url and not settings.api_key:
        raise Refusal("the sessions service wants an API key: set FAIRLEAD_HTTP_API_KEY, or start the stack (make up)")
    return SessionReads(url, settings.api_key) if url else None


async def _measure(
    arguments: argparse.Namespace,
    settings: PerfSettings,
    edge: OwnEdge,
    reads: SessionReads | None,
    shown: Bar,
    report: Report,
) -> None:
    # Users of this run's own: those of the last run may still be expected back, and would continue their sessions.
    users = f"drain-{os.urandom(4).hex()}-{{i}}"
    dialect = replace(client_options.dialect(arguments, settings), user=users)
    plan = client_options.plan(arguments, Target("127.0.0.1", edge.port, dialect.path), dialect)
    idle = edge.usage()
    show = partial(shown.show, total=plan.schedule.count, ended="closed")
    async with Fleet(plan, arguments.processes, show) as fleet:
        shown.phase("connecting")
        fleet.begin()
        await fleet.until(lambda: fleet.settled, client_options.settle_within_s(plan))
        shown.phase("opened?")
        held = edge.usage()
        connected = fleet.progress.connected
        opened = await reads.opened(edge.name, connected, arguments.sessions_within) if reads else None
        shown.phase("draining")
        sent_at, exit_code, exit_s = await edge.stop(STOP_WITHIN_S)
        await fleet.until(lambda: fleet.progress.lost >= fleet.progress.connected, LAST_WORDS_S)
        tally = await fleet.finish()
        shown.phase("ended?")
        ends = await reads.ends(edge.name, connected, arguments.sessions_within) if reads else None
        ended_s = round(time.monotonic() - sent_at, 3) if reads else None
    report.update(_figures(tally, sent_at))
    report.update(
        connections=plan.schedule.count,
        promised_exit_s=PROMISED_UNPACED_EXIT_S if arguments.unpaced else PROMISED_EXIT_S,
        exit_code=exit_code,
        exit_s=None if exit_s is None else round(exit_s, 3),
        sessions_opened=opened,
        sessions_ended=None if ends is None else sum(ends.values()),
        session_end_codes=ends,
        sessions_ended_seen_s=ended_s,
        tracebacks=edge.tracebacks(),
        edge_rss_bytes={"idle": idle[0], "held": held[0], "per_connection": (held[0] - idle[0]) // max(1, connected)},
        edge_cpu_s={"idle": round(idle[1], 3), "held": round(held[1], 3)},
    )
    report["broken_promises"] = broken_promises(report)
    if report["broken_promises"]:
        print(f"perf: the edge's log ends:\n{edge.log_tail()}", file=sys.stderr)


def _figures(tally: Tally, sent_at: float) -> Report:
    after = [at - sent_at for at in tally.lost_at]
    bins = Counter(int(seconds // BIN_S) for seconds in after)
    return {
        "attempted": tally.progress.attempted,
        "connected": tally.progress.connected,
        "failed": tally.progress.failed,
        "failures": dict(tally.failures),
        "connect_s": summary.distribution(tally.connect_s),
        "lateness_s": summary.distribution(tally.lateness_s),
        "closed": tally.progress.lost,
        "close_codes": failures.close_codes(tally.losses),
        "closes": dict(tally.losses),
        "close_after_signal_s": {"first": round(min(after), 3) if after else None, **summary.distribution(after)},
        "closes_by_quarter_second": {f"{number * BIN_S:.2f}": bins[number] for number in sorted(bins)},
    }


def broken_promises(report: Report) -> list[str]:
    """What the drain promised and did not keep, in words; empty when all is well."""
    broken = []
    wanted, connected = report["connections"], report["connected"]
    if connected != wanted:
        broken.append(f"{connected} of {wanted} clients were connected")
    if report["close_codes"] != {"1001": connected}:
        broken.append(f"not every client saw 1001: {report['close_codes']}")
    if report["exit_code"] != 0:
        broken.append(f"exit code {report['exit_code']}")
    exit_s, promised_s = report["exit_s"], report["promised_exit_s"]
    assert isinstance(promised_s, float)
    if not isinstance(exit_s, float) or exit_s >= promised_s:
        broken.append(f"not gone within {promised_s:.0f} s")
    if report["session_end_codes"] not in (None, {"1001": connected}):
        broken.append(f"not all {connected} sessions end with 1001 in PostgreSQL: {report['session_end_codes']}")
    if report["tracebacks"]:
        broken.append(f"{report['tracebacks']} traceback(s) in the edge's log")
    return broken


def _readable(report: Report) -> str:
    closes, spread, bins = report["closes"], report["close_after_signal_s"], report["closes_by_quarter_second"]
    broken = report["broken_promises"]
    assert isinstance(closes, dict) and isinstance(spread, dict) and isinstance(bins, dict) and isinstance(broken, list)
    rows: list[tuple[str, object]] = [
        ("connected", f"{report['connected']} of {report['connections']}"),
        ("closes seen", summary.causes(closes)),
        ("closed after signal", summary.milliseconds(spread) + " ms"),
        ("per quarter second", "  ".join(f"{start} s: {number}" for start, number in bins.items())),
        ("exit", f"code {report['exit_code']} after {report['exit_s']} s"),
        ("ends in PostgreSQL", _ends(report)),
        ("verdict", "; ".join(broken) or "every promise kept"),
    ]
    return summary.table(rows)


def _ends(report: Report) -> str:
    codes = report["session_end_codes"]
    if not isinstance(codes, dict):
        return "not asked for"
    listed = ", ".join(f"{number} x {code}" for code, number in codes.items()) or "none"
    return f"{listed}; last seen {report['sessions_ended_seen_s']} s after the signal"
