"""A killed edge: all of its clients come back at once on another one, and get what they missed.

Edges and NATS are perf's own. While publications go on, the clients' edge gets SIGKILL. Each client connects to the
other edge as soon as it sees the cut, without the waiting that SDKs do, and recovers from its position. Reports how
long until all are back, how many were promised that nothing is missing, and whether that is true: each client follows
the numbers of its channel. Exit code 1 when one did not come back, or anything was lost or came twice.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from dataclasses import replace

from perf import client_options, delivery, own_clients, own_stack, reporting, summary
from perf.fleet import Fleet
from perf.own_edge import OwnEdge
from perf.own_stack import OwnStack
from perf.pacing import Schedule
from perf.plan import Plan
from perf.progress_bar import Bar
from perf.publisher import Published, Publishing
from perf.publishing import PublisherProcess
from perf.refusal import Refusal
from perf.reporting import Report
from perf.settings import PerfSettings

KILL_AT = 0.3
"""Of the time of publishing."""

BACK_WITHIN_S = 30.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    own_clients.add_arguments(parser, connections=2000)
    own_clients.add_publishing(parser, rate=100, seconds=10)
    parser.add_argument("--channels", type=int, default=20, help="how many (%(default)s)")


async def run(arguments: argparse.Namespace, settings: PerfSettings) -> int:
    own_clients.check_publishing(arguments)
    if not arguments.publish_rate or arguments.connections % arguments.channels:
        raise Refusal("--publish-rate is above 0, and --connections a multiple of --channels")

    expected_s = client_options.expected_s(arguments, arguments.seconds + BACK_WITHIN_S + 30)
    report = await reporting.reported(arguments, expected_s, measure, _readable, arguments.connections)
    return int(report is None or bool(report["broken_promises"]))


async def measure(arguments: argparse.Namespace, shown: Bar, report: Report) -> None:
    async with own_stack.running() as stack, stack.edge() as refuge, stack.edge() as victim:
        await _measure(arguments, stack, refuge, victim, shown, report)


async def _measure(
    arguments: argparse.Namespace, stack: OwnStack, refuge: OwnEdge, victim: OwnEdge, shown: Bar, report: Report
) -> None:
    plan = own_clients.plan(arguments, stack, [victim], "log:storm-{room}", arguments.channels)
    plan = replace(plan, ordered=True, refuge=refuge.port)
    async with delivery.held(plan, arguments.processes, shown) as fleet:
        before = refuge.usage()
        killed_at, published, after = await _storm(arguments, plan, stack, fleet, refuge, victim, shown)
        listeners = arguments.connections // arguments.channels
        expected = published.accepted * listeners
        await fleet.until(lambda: fleet.progress.messages >= expected, delivery.LAST_WORDS_S)
        shown.phase("leaving")
        tally = await fleet.finish()
    heard = tally.heard
    report.update(
        connections=arguments.connections,
        published=published.accepted,
        publish_failures=dict(published.failures),
        lost_connections=tally.progress.lost,
        back=tally.progress.back,
        back_after_kill_s=summary.distribution([at - killed_at for at in tally.back_at]),
        back_by_quarter_second=_bins([at - killed_at for at in tally.back_at]),
        comeback_failures=dict(tally.comeback_failures),
        recovered=tally.recovered,
        expected=expected,
        delivered=heard.messages,
        gaps=heard.gaps,
        repeats=heard.repeats,
        age_s=summary.distribution(heard.ages_s),
        refuge_cpu_s=round(after[1] - before[1], 3),
        generator_loop_lag_s=summary.distribution(tally.loop_lag_s),
    )
    report["broken_promises"] = broken_promises(report)


async def _storm(
    arguments: argparse.Namespace,
    plan: Plan,
    stack: OwnStack,
    fleet: Fleet,
    refuge: OwnEdge,
    victim: OwnEdge,
    shown: Bar,
) -> tuple[float, Published, tuple[int, float]]:
    """When the edge was killed, what was published, and what the other one had used when all were back."""
    schedule = Schedule(round(arguments.publish_rate * arguments.seconds), arguments.publish_rate)
    publishing = Publishing(stack.api(refuge), plan.dialect.channels(), schedule, size=arguments.size)
    async with PublisherProcess(publishing) as publisher:
        shown.phase("publishing")
        publisher.begin()
        await fleet.until(lambda: False, arguments.seconds * KILL_AT)
        shown.phase("killed")
        killed_at = time.monotonic()
        victim.kill()
        await fleet.until(lambda: fleet.progress.back >= arguments.connections, BACK_WITHIN_S)
        after = refuge.usage()
        return killed_at, await publisher.finished(arguments.seconds + 30), after


def _bins(seconds: list[float]) -> dict[str, int]:
    counted = Counter(int(one / 0.25) for one in seconds)
    return {f"{number * 0.25:.2f}": counted[number] for number in sorted(counted)}


def broken_promises(report: Report) -> list[str]:
    """In words; empty when all is well."""
    broken = []
    wanted = report["connections"]
    if report["back"] != wanted:
        broken.append(f"{report['back']} of {wanted} clients came back")
    if report["recovered"] != report["back"]:
        broken.append(f"{report['recovered']} of {report['back']} were recovered")
    if report["delivered"] != report["expected"]:
        broken.append(f"{report['delivered']} of {report['expected']} deliveries")
    if report["gaps"] or report["repeats"]:
        broken.append(f"{report['gaps']} gaps, {report['repeats']} repeats")
    return broken


def _readable(report: Report) -> str:
    back, age, failures, broken = (
        report[name] for name in ("back_after_kill_s", "age_s", "comeback_failures", "broken_promises")
    )
    assert isinstance(back, dict) and isinstance(age, dict) and isinstance(failures, dict) and isinstance(broken, list)
    return summary.table(
        [
            ("came back", f"{report['back']} of {report['connections']}, {report['recovered']} recovered"),
            ("back after the kill", summary.milliseconds(back) + " ms"),
            ("failed attempts", summary.causes(failures)),
            ("delivered", f"{report['delivered']} of {report['expected']}"),
            ("order", f"{report['gaps']} gaps, {report['repeats']} repeats"),
            ("age, the storm included", summary.milliseconds(age) + " ms"),
            ("other edge's CPU", f"{report['refuge_cpu_s']} s until all were back"),
            ("verdict", "; ".join(broken) or "every promise kept"),
        ]
    )
