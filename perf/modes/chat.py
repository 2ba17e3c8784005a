"""Many rooms, many writers: clients publish over their own sockets, and everyone in the room receives.

Edges and NATS are perf's own. --connections clients are spread over --rooms rooms, and take turns at saying something,
R times a second in all, open loop. Rooms have history, so each message is stored before its writer is answered. Exit
code 1 when a delivery is missing.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace

from perf import client_options, delivery, own_clients, own_stack, reporting, summary
from perf.delivery import LAST_WORDS_S, Delivery, Usage
from perf.fleet import Fleet
from perf.own_edge import OwnEdge
from perf.own_stack import OwnStack
from perf.pacing import Schedule
from perf.plan import Talk
from perf.progress_bar import Bar
from perf.publisher import Published
from perf.refusal import Refusal
from perf.reporting import Report
from perf.settings import PerfSettings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    own_clients.add_arguments(parser, connections=1000)
    own_clients.add_publishing(parser, rate=200, seconds=10)
    parser.add_argument("--rooms", type=int, default=100, help="how many (%(default)s)")
    parser.add_argument("--edges", type=int, default=2, help="edge processes (%(default)s)")


async def run(arguments: argparse.Namespace, settings: PerfSettings) -> int:
    own_clients.check_publishing(arguments)
    if not arguments.publish_rate or arguments.connections % arguments.rooms:
        raise Refusal("--publish-rate is above 0, and --connections a multiple of --rooms")

    expected_s = client_options.expected_s(arguments, arguments.seconds + 30)
    report = await reporting.reported(arguments, expected_s, measure, _readable, arguments.connections)
    return int(report is None or bool(report["lost"]))


async def measure(arguments: argparse.Namespace, shown: Bar, report: Report) -> None:
    async with own_stack.running() as stack, stack.edges(arguments.edges) as edges:
        await _measure(arguments, stack, edges, shown, report)


async def _measure(
    arguments: argparse.Namespace, stack: OwnStack, edges: list[OwnEdge], shown: Bar, report: Report
) -> None:
    plan = own_clients.plan(arguments, stack, edges, "log:room-{room}", arguments.rooms)
    talk = Talk(Schedule(round(arguments.publish_rate * arguments.seconds), arguments.publish_rate), arguments.size)
    async with delivery.held(replace(plan, talk=talk), arguments.processes, shown) as fleet:
        shown.phase("chatting")
        chatted = await _chat(fleet, talk, arguments, edges)
        shown.phase("leaving")
        tally = await fleet.finish()
    chatted.published.lateness_s = tally.speech_lateness_s
    report.update(chatted.figures())
    report.update(
        connections=arguments.connections,
        rooms=arguments.rooms,
        edge_cpu_us_per_message=round(chatted.edge.cpu_s / max(1, chatted.published.accepted) * 1e6, 1),
        losses=dict(tally.losses),
        generator_loop_lag_s=summary.distribution(tally.loop_lag_s),
    )


async def _chat(fleet: Fleet, talk: Talk, arguments: argparse.Namespace, edges: list[OwnEdge]) -> Delivery:
    await fleet.take()
    before = delivery.usage(edges)
    began_at = fleet.talk()
    wanted = talk.schedule.count
    await fleet.until(lambda: fleet.progress.spoken >= wanted, arguments.seconds + 20)
    expected = fleet.progress.spoken * arguments.connections // arguments.rooms
    await fleet.until(lambda: fleet.progress.messages >= expected, LAST_WORDS_S)
    after = delivery.usage(edges)
    published = Published(due=wanted, accepted=fleet.progress.spoken)
    spent = Usage(after.rss_bytes, after.cpu_s - before.cpu_s)
    return Delivery(published, await fleet.take(), expected, spent, began_at, time.monotonic(), fleet.processes)


def _readable(report: Report) -> str:
    age, lateness = report["age_s"], report["publisher_lateness_s"]
    assert isinstance(age, dict) and isinstance(lateness, dict)
    return summary.table(
        [
            ("said", f"{report['published']} by {report['connections']} clients in {report['rooms']} rooms"),
            ("delivered", f"{report['delivered']} of {report['expected']}, {report['lost']} missing"),
            ("age at delivery", summary.milliseconds(age) + " ms"),
            ("edge CPU", f"{report['edge_cpu_us_per_message']} us for each message with its deliveries"),
            ("writers' lateness", summary.milliseconds(lateness) + " ms"),
            *delivery.care(report),
        ]
    )
