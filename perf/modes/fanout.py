"""What one edge delivers: a channel with N subscribers, R publications a second or as many as it takes.

Edge and NATS are perf's own. Reports deliveries for each second of the edge's CPU (which is what compares, however busy
the machine is), deliveries a second by the clock, and whether any is missing. --publish-rate 0 saturates: --window
publications are unanswered at any time, and ages mean nothing. --live takes a channel without history; with a rate its
publications come on NATS, past the server API. --against does the same to other servers, in turn with the edge:
starlette, a plain broadcast; send-loop, a C program that does nothing but send(). Exit code 1 when a delivery of the
edge is missing.
"""

from __future__ import annotations

import argparse
import statistics
from dataclasses import replace

from perf import client_options, delivery, own_clients, own_stack, reference, reporting, summary
from perf.delivery import Delivery, Server
from perf.own_stack import OwnStack
from perf.pacing import Schedule
from perf.plan import Plan
from perf.progress_bar import Bar
from perf.publisher import Publishing
from perf.reporting import Report
from perf.settings import PerfSettings
from perf.target import Target
from perf.ways import Way

EDGE = "edge"
LOGGED, LIVE = "log:fanout", "live:fanout"
SAMPLES_WANTED = 100_000
ASSUMED_RATE = 500
"""Publications a second that a saturating run is taken for, where it must be known before."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    own_clients.add_arguments(parser, connections=1000)
    own_clients.add_publishing(parser, rate=0, seconds=5)
    parser.add_argument(
        "--window", type=int, default=4, help="unanswered publications of a saturating run (%(default)s)"
    )
    parser.add_argument("--live", action="store_true", help="a channel without history")
    parser.add_argument("--rounds", type=int, default=1, help="measured so often, the median counts (%(default)s)")
    parser.add_argument(
        "--against", nargs="+", choices=list(reference.ALL), default=[], help="other servers, in turn (default: none)"
    )


async def run(arguments: argparse.Namespace, settings: PerfSettings) -> int:
    own_clients.check_publishing(arguments)
    servers = 1 + len(arguments.against)
    expected_s = arguments.rounds * servers * client_options.expected_s(arguments, arguments.seconds + 30)
    report = await reporting.reported(arguments, expected_s, measure, _readable, arguments.connections)
    return int(report is None or report["lost"] != 0 or bool(report["publish_failures"]))


async def measure(arguments: argparse.Namespace, shown: Bar, report: Report) -> None:
    rounds: dict[str, list[Delivery]] = {name: [] for name in (EDGE, *arguments.against)}
    async with own_stack.running() as stack:
        for _ in range(arguments.rounds):
            rounds[EDGE].append(await _on_an_edge(stack, arguments, shown))
            for name in arguments.against:
                rounds[name].append(await _on_a_reference(name, arguments, shown))
    edge = rounds[EDGE]
    report.update(connections=arguments.connections, rate_asked_per_s=arguments.publish_rate or None)
    report.update(edge[-1].figures())
    report.update(
        lost=sum(one.lost for one in edge),
        each={name: [one.figures() for one in several] for name, several in rounds.items()},
        deliveries_per_cpu_s={
            name: round(statistics.median(one.per_cpu_s for one in several)) for name, several in rounds.items()
        },
    )
    report["ratio_to"] = {
        name: round(
            statistics.median(
                ours.per_cpu_s / theirs.per_cpu_s for ours, theirs in zip(edge, rounds[name], strict=True)
            ),
            3,
        )
        for name in arguments.against
    }


async def _on_an_edge(stack: OwnStack, arguments: argparse.Namespace, shown: Bar) -> Delivery:
    channel = LIVE if arguments.live else LOGGED
    async with stack.edge() as edge:
        past_the_api = arguments.live and arguments.publish_rate
        way: Way = stack.past_the_api() if past_the_api else stack.api(edge)
        return await _deliver(edge, own_clients.plan(arguments, stack, [edge], channel), way, arguments, shown)


async def _on_a_reference(name: str, arguments: argparse.Namespace, shown: Bar) -> Delivery:
    async with reference.ALL[name]() as server:
        plan = client_options.plan(arguments, Target("127.0.0.1", server.port, ""), server.dialect)
        return await _deliver(server, plan, server.way, arguments, shown)


async def _deliver(server: Server, plan: Plan, way: Way, arguments: argparse.Namespace, shown: Bar) -> Delivery:
    rate, seconds = arguments.publish_rate, arguments.seconds
    every = arguments.connections * (rate or ASSUMED_RATE) * seconds / SAMPLES_WANTED
    plan = replace(plan, sample_every=max(1, round(every)))
    schedule = Schedule(round(rate * seconds), rate) if rate else None
    publishing = Publishing(
        way, plan.dialect.channels(), schedule, seconds=seconds, window=arguments.window, size=arguments.size
    )
    async with delivery.held(plan, arguments.processes, shown) as fleet:
        shown.phase("publishing")
        delivered = await delivery.deliver(fleet, publishing, arguments.connections, [server], seconds + 30)
        shown.phase("leaving")
        await fleet.finish()
    return delivered


def _readable(report: Report) -> str:
    age, lateness = report["age_s"], report["publisher_lateness_s"]
    per_cpu_s, ratio_to = report["deliveries_per_cpu_s"], report["ratio_to"]
    assert isinstance(age, dict) and isinstance(lateness, dict)
    assert isinstance(per_cpu_s, dict) and isinstance(ratio_to, dict)
    rows: list[tuple[str, object]] = [
        ("published", f"{report['published']} to {report['connections']} subscribers"),
        ("delivered", f"{report['delivered']} of {report['expected']}, {report['lost']} missing"),
        ("for each CPU second", f"{per_cpu_s[EDGE]} deliveries"),
        ("by the clock", f"{report['deliveries_per_s']} deliveries a second"),
        ("age at delivery", summary.milliseconds(age) + " ms"),
        ("publisher's lateness", summary.milliseconds(lateness) + " ms"),
    ]
    rows += [
        (name, f"{per_cpu_s[name]} for each CPU second: the edge does {ratio} times that")
        for name, ratio in ratio_to.items()
    ]
    return summary.table(rows + delivery.care(report))
