"""How fast the sessions service folds the log into PostgreSQL: a log full of facts, and a service that starts on it.

NATS and PostgreSQL are perf's own, with the settings of `make up`. The service has one core to itself, they have the
others (--share-cores lets all run anywhere). Counted is from the first to the last fact that was folded. Exit code 1
when that is slower than --bound.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import time

import psutil

from perf import own_postgres, own_sessions, own_stack, reporting, session_facts, summary
from perf.own_postgres import OwnPostgres
from perf.own_sessions import OwnSessions
from perf.own_stack import OwnStack
from perf.progress_bar import Bar
from perf.refusal import Refusal
from perf.reporting import Report, RunFailed
from perf.settings import PerfSettings

FOLDED_WITHIN_S = 120.0
_POLL_S = 0.1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--events", type=int, default=300_000, help="facts in the log (%(default)s)")
    parser.add_argument(
        "--bound", type=float, default=0.0, help="facts a second at the least; 0 for none (%(default)s)"
    )
    parser.add_argument("--share-cores", action="store_true", help="nobody has a core to itself")
    reporting.add_arguments(parser)


async def run(arguments: argparse.Namespace, settings: PerfSettings) -> int:
    if not 1_000 <= arguments.events <= 5_000_000:
        raise Refusal("--events is 1000 to 5000000")
    report = await reporting.reported(arguments, FOLDED_WITHIN_S + 120, measure, _readable, 0)
    return int(report is None or _rate(report) < arguments.bound)


async def measure(arguments: argparse.Namespace, shown: Bar, report: Report) -> None:
    async with own_stack.running() as stack, own_postgres.running() as database:
        shown.phase("filling")
        events = await own_sessions.fill_log(stack, session_facts.batches(arguments.events))
        if not arguments.share_cores:
            _spread(stack, database)
        shown.phase("folding")
        async with own_sessions.running(stack, database) as service:
            if not arguments.share_cores:
                os.sched_setaffinity(service.pid, {min(os.sched_getaffinity(0))})
            await _watch(service, database, events, report)


def _spread(stack: OwnStack, database: OwnPostgres) -> None:
    """Gives the servers all cores but the first; processes that PostgreSQL starts later inherit that."""
    others = set(sorted(os.sched_getaffinity(0))[1:])
    if not others:
        raise Refusal("there is one core only: take --share-cores")
    for pid in (stack.nats_pid, database.pid):
        for process in (psutil.Process(pid), *psutil.Process(pid).children(recursive=True)):
            for thread in process.threads():
                os.sched_setaffinity(thread.id, others)


async def _watch(service: OwnSessions, database: OwnPostgres, events: int, report: Report) -> None:
    began = time.monotonic()
    first_at = first = first_cpu = first_database = 0.0
    while True:
        folded, at = await service.folded(), time.monotonic()
        if folded and not first:
            first_at, first = at, folded
            first_cpu, first_database = service.cpu_s(), _cpu_s(database)
        if folded >= events:
            break
        if at - began > FOLDED_WITHIN_S:
            raise RunFailed(f"{folded:.0f} of {events} facts were folded within {FOLDED_WITHIN_S:.0f} s")
        await asyncio.sleep(_POLL_S)
    counted, seconds = folded - first, at - first_at
    if counted <= 0:
        raise RunFailed("all facts were folded at once: take more --events")
    report.update(
        events=events,
        counted=round(counted),
        seconds=round(seconds, 3),
        events_a_second=round(counted / seconds),
        events_a_cpu_second=round(counted / max(service.cpu_s() - first_cpu, 1e-9)),
        database_cpu_s=round(_cpu_s(database) - first_database, 3),
    )


def _cpu_s(database: OwnPostgres) -> float:
    """Of all its processes, those that have ended included."""
    postmaster = psutil.Process(database.pid)
    total = 0.0
    for process in (postmaster, *postmaster.children(recursive=True)):
        times = process.cpu_times()
        total += times.user + times.system
    return total


def _rate(report: Report) -> float:
    rate = report["events_a_second"]
    assert isinstance(rate, int)
    return rate


def _readable(report: Report) -> str:
    return summary.table(
        [
            ("facts in the log", report["events"]),
            ("folded a second", report["events_a_second"]),
            ("for each CPU second of the service", report["events_a_cpu_second"]),
            ("CPU of PostgreSQL meanwhile", f"{report['database_cpu_s']} s in {report['seconds']} s"),
        ]
    )
