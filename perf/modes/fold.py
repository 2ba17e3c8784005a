"""How fast the sessions service folds its log into PostgreSQL: a service starts on a log full of events.

NATS and PostgreSQL are perf's own, with the settings of `make up`. The service has one core to itself, they have the
others (--share-cores lets all run anywhere). The service folds the next part while PostgreSQL commits: so the time
counts from the first commit to the last but one, when equally much is in progress. Exit code 1 if that is slower than
--bound.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import time
from typing import NamedTuple

import psutil

from deploy.processes import process_tree
from perf import runner
from perf.errors import Refusal, RunFailed
from perf.load import session_facts
from perf.report import tables
from perf.report.figures import Figures
from perf.report.progress_bar import Bar
from perf.servers.postgres import OwnPostgres, running_postgres
from perf.servers.sessions import OwnSessions, fill_log, running_sessions
from perf.servers.stack import OwnStack, running_stack
from perf.settings import PerfSettings

FOLDED_WITHIN_S = 120.0
_POLL_S = 0.1


class _Point(NamedTuple):
    """What was folded at a moment, and the CPU seconds that were used until then."""

    at: float
    folded: float
    service_cpu_s: float
    database_cpu_s: float


class FoldFigures(Figures):
    """`counted` events were folded in `seconds`; `events` were in the log."""

    events: int
    counted: int
    seconds: float
    events_a_second: int
    events_a_cpu_second: int
    database_cpu_s: float

    def table(self) -> str:
        return tables.text(
            [
                ("events in the log", self.events),
                ("folded a second", self.events_a_second),
                ("for each CPU second of the service", self.events_a_cpu_second),
                ("CPU of PostgreSQL meanwhile", f"{self.database_cpu_s} s in {self.seconds} s"),
            ]
        )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--events", type=int, default=300_000, help="events in the log (%(default)s)")
    parser.add_argument("--batch", type=int, default=200, help="events in one message of the log (%(default)s)")
    parser.add_argument("--bound", type=float, default=0.0, help="least events a second; 0 for none (%(default)s)")
    parser.add_argument("--share-cores", action="store_true", help="no process has a core to itself")
    runner.add_arguments(parser)


async def run(arguments: argparse.Namespace, settings: PerfSettings) -> int:
    if not 1_000 <= arguments.events <= 5_000_000:
        raise Refusal("--events is 1000 to 5000000")
    if not 1 <= arguments.batch <= 1_000:
        raise Refusal("--batch is 1 to 1000")
    figures = await runner.measured(arguments, FOLDED_WITHIN_S + 120, measure, 0)
    return int(figures is None or figures.events_a_second < arguments.bound)


async def measure(arguments: argparse.Namespace, shown: Bar) -> FoldFigures:
    async with running_stack() as stack, running_postgres() as database:
        shown.phase("filling")
        events = await fill_log(stack, session_facts.batches(arguments.events, arguments.batch))
        if not arguments.share_cores:
            _spread(stack, database)
        shown.phase("folding")
        async with running_sessions(stack, database) as service:
            if not arguments.share_cores:
                os.sched_setaffinity(service.pid, {min(os.sched_getaffinity(0))})
            return await _watch(service, database, events)


def _spread(stack: OwnStack, database: OwnPostgres) -> None:
    """Gives the servers all cores but the first; processes that PostgreSQL starts later inherit that."""
    others = set(sorted(os.sched_getaffinity(0))[1:])
    if not others:
        raise Refusal("there is one core only: use --share-cores")
    for pid in (stack.nats_pid, database.pid):
        for process in (psutil.Process(pid), *psutil.Process(pid).children(recursive=True)):
            for thread in process.threads():
                os.sched_setaffinity(thread.id, others)


async def _watch(service: OwnSessions, database: OwnPostgres, events: int) -> FoldFigures:
    began = time.monotonic()
    commits: list[_Point] = []
    while True:
        folded, at = await service.folded(), time.monotonic()
        if folded > (commits[-1].folded if commits else 0):
            commits.append(_Point(at, folded, service.cpu_s(), process_tree.cpu_s(database.pid)))
        if folded >= events:
            break
        if at - began > FOLDED_WITHIN_S:
            raise RunFailed(f"{folded:.0f} of {events} events were folded within {FOLDED_WITHIN_S:.0f} s")
        await asyncio.sleep(_POLL_S)
    if len(commits) < 3:
        raise RunFailed(f"all events were folded in {len(commits)} commits: use more --events")
    first, last = commits[0], commits[-2]
    counted, seconds = last.folded - first.folded, last.at - first.at
    return FoldFigures(
        events=events,
        counted=round(counted),
        seconds=round(seconds, 3),
        events_a_second=round(counted / seconds),
        events_a_cpu_second=round(counted / max(last.service_cpu_s - first.service_cpu_s, 1e-9)),
        database_cpu_s=round(last.database_cpu_s - first.database_cpu_s, 3),
    )
