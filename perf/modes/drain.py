"""How an edge drains: N clients are held on one edge, it gets SIGTERM, and every promise of a drain is checked.

The edge is perf's own, started beside the running stack (make up) on the same NATS, so that no other clients are
affected and its exit code is known. Reports the close codes that the clients saw, when they saw them, the exit code,
the seconds from the signal to the exit, and how many sessions have their end in PostgreSQL (asked of the sessions
service). --alone uses perf's own NATS, and leaves PostgreSQL out. --unpaced lets the edge close all clients at once,
which shows what the pace adds; 2 s are promised for that. Exit code 1 if a promise was broken.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import time
from dataclasses import replace
from functools import partial

from perf import options, runner
from perf.errors import Refusal
from perf.load.fleet import Fleet
from perf.load.target import Target
from perf.modes.drain_figures import ClientFigures, Cpu, DrainFigures, Memory, broken_promises
from perf.report.progress_bar import Bar
from perf.servers.edge import OwnEdge, running_edge
from perf.servers.session_reads import SessionReads
from perf.servers.stack import running_stack
from perf.settings import PerfSettings

PROMISED_EXIT_S = 10.0
PROMISED_UNPACED_EXIT_S = 2.0
UNPACED = {"FAIRLEAD_EDGE_DRAIN_DELAY": "0", "FAIRLEAD_EDGE_DRAIN_RATE": "0"}
STOP_WITHIN_S = 30.0
"""How long a drain that breaks its promise is watched before the edge is killed."""

LAST_CLOSES_S = 2.0
"""How long the client processes may take to report closes after the edge has exited."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    options.add_stack_clients(parser, connections=2000, rate=500)
    parser.add_argument("--alone", action="store_true", help="on a NATS of perf's own; no stack is needed")
    parser.add_argument("--unpaced", action="store_true", help="close all at once")
    parser.add_argument("--port", type=int, help="of perf's own edge (default: a free one)")
    parser.add_argument("--sessions-url", help='of the sessions service (default: that of the stack); "" leaves it out')
    parser.add_argument("--sessions-within", type=float, default=30.0, help="seconds for ends to appear (%(default)s)")


async def run(arguments: argparse.Namespace, settings: PerfSettings) -> int:
    expected_s = options.expected_s(arguments, STOP_WITHIN_S + 2 * arguments.sessions_within)
    figures = await runner.measured(arguments, expected_s, partial(measure, settings), arguments.connections)
    return int(figures is None or bool(figures.broken_promises))


async def measure(settings: PerfSettings, arguments: argparse.Namespace, shown: Bar) -> DrainFigures:
    async with contextlib.AsyncExitStack() as entered:
        reads = None if arguments.alone else _reads(arguments, settings)
        if arguments.alone:
            stack = await entered.enter_async_context(running_stack())
            settings = replace(settings, environ=stack.environ, token_secret=stack.token_secret)
        environ = {**settings.environ, **(UNPACED if arguments.unpaced else {})}
        edge = await entered.enter_async_context(running_edge(environ, arguments.port))
        await edge.ready()
        return await _measure(arguments, settings, edge, reads, shown)


def _reads(arguments: argparse.Namespace, settings: PerfSettings) -> SessionReads | None:
    url = settings.sessions_url if arguments.sessions_url is None else arguments.sessions_url
    if url and not settings.api_key:
        raise Refusal("the sessions service needs an API key: set FAIRLEAD_HTTP_API_KEY, or start the stack (make up)")
    return SessionReads(url, settings.api_key) if url else None


async def _measure(
    arguments: argparse.Namespace, settings: PerfSettings, edge: OwnEdge, reads: SessionReads | None, shown: Bar
) -> DrainFigures:
    # Users of this run only: those of the last run may still be expected back, and would continue their sessions.
    users = f"drain-{os.urandom(4).hex()}-{{i}}"
    dialect = replace(options.dialect(arguments, settings), user=users)
    plan = options.plan(arguments, Target("127.0.0.1", edge.port, dialect.path), dialect)
    idle = edge.usage()
    show = partial(shown.show, total=plan.schedule.count, ended="closed")
    async with Fleet(plan, arguments.processes, show) as fleet:
        shown.phase("connecting")
        fleet.begin()
        await fleet.until(lambda: fleet.settled, plan.settle_within_s)
        shown.phase("opened?")
        held = edge.usage()
        connected = fleet.progress.connected
        opened = await reads.opened(edge.name, connected, arguments.sessions_within) if reads else None
        shown.phase("draining")
        sent_at, exit_code, exit_s = await edge.stop(STOP_WITHIN_S)
        await fleet.until(lambda: fleet.progress.lost >= fleet.progress.connected, LAST_CLOSES_S)
        tally = await fleet.finish()
        shown.phase("ended?")
        ends = await reads.ends(edge.name, connected, arguments.sessions_within) if reads else None
        ended_s = round(time.monotonic() - sent_at, 3) if reads else None
    figures = DrainFigures(
        clients=ClientFigures.of(tally, sent_at),
        connections=plan.schedule.count,
        promised_exit_s=PROMISED_UNPACED_EXIT_S if arguments.unpaced else PROMISED_EXIT_S,
        exit_code=exit_code,
        exit_s=None if exit_s is None else round(exit_s, 3),
        sessions_opened=opened,
        sessions_ended=None if ends is None else sum(ends.values()),
        session_end_codes=ends,
        sessions_ended_seen_s=ended_s,
        tracebacks=edge.tracebacks(),
        edge_rss_bytes=Memory(idle[0], held[0], (held[0] - idle[0]) // max(1, connected)),
        edge_cpu_s=Cpu(round(idle[1], 3), round(held[1], 3)),
        broken_promises=[],
    )
    figures.broken_promises = broken_promises(figures)
    if figures.broken_promises:
        print(f"perf: the edge's log ends:\n{edge.log_tail()}", file=sys.stderr)
    return figures
