"""From publish to delivery, across edges: N subscribers held, R publications a second over C channels.

Edges and NATS are perf's own. Publications go to the first edge's server API, subscribers of every channel are on all
edges. An age counts from when a publication was due, open loop. With --bare-nats a publisher and a nats-py subscriber
exchange the same on the same NATS, on core subjects, in turn with it: what is left of a ratio is what Fairlead adds
(JWTs, log, order, thousands of sockets). Exit code 1 when a delivery is missing.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib

from perf import client_options, delivery, own_clients, own_stack, reporting, summary
from perf.bare_nats import BareSubscriber, Listening
from perf.delivery import Delivery
from perf.ears import Heard, together
from perf.own_edge import OwnEdge
from perf.own_stack import OwnStack
from perf.pacing import Schedule
from perf.progress_bar import Bar
from perf.publisher import Publishing
from perf.publishing import PublisherProcess
from perf.reporting import Report
from perf.settings import PerfSettings
from perf.ways import NatsPublish

LAST_WORDS_S = 0.5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    own_clients.add_arguments(parser, connections=5000)
    own_clients.add_publishing(parser, rate=100, seconds=10)
    parser.add_argument("--channels", type=int, default=100, help="how many (%(default)s)")
    parser.add_argument("--edges", type=int, default=2, help="edge processes (%(default)s)")
    parser.add_argument("--rounds", type=int, default=2, help="measured so often (%(default)s)")
    parser.add_argument("--live", action="store_true", help="channels without history")
    parser.add_argument("--bare-nats", action="store_true", help="measure NATS alone as well, in turn")


async def run(arguments: argparse.Namespace, settings: PerfSettings) -> int:
    own_clients.check_publishing(arguments)

    expected_s = client_options.expected_s(arguments, arguments.rounds * 2 * (arguments.seconds + 10))
    report = await reporting.reported(arguments, expected_s, measure, _readable, arguments.connections)
    return int(report is None or bool(report["lost"]))


async def measure(arguments: argparse.Namespace, shown: Bar, report: Report) -> None:
    async with own_stack.running() as stack, stack.edges(arguments.edges) as edges:
        await _measure(stack, edges, arguments, shown, report)


async def _measure(
    stack: OwnStack, edges: list[OwnEdge], arguments: argparse.Namespace, shown: Bar, report: Report
) -> None:
    kind = "live" if arguments.live else "log"
    plan = own_clients.plan(arguments, stack, edges, f"{kind}:room-{{room}}", arguments.channels)
    channels = plan.dialect.channels()
    schedule = Schedule(round(arguments.publish_rate * arguments.seconds), arguments.publish_rate)
    publishing = Publishing(stack.api(edges[0]), channels, schedule, size=arguments.size)
    subjects = tuple(f"bare.{number}" for number in range(arguments.channels))
    bare_publishing = Publishing(NatsPublish(stack.nats_port), subjects, schedule, size=arguments.size)
    bare: list[Heard] = []
    rounds: list[Delivery] = []
    async with contextlib.AsyncExitStack() as entered:
        subscriber = None
        if arguments.bare_nats:
            subscriber = await entered.enter_async_context(BareSubscriber(Listening(stack.nats_url, subjects)))
        fleet = await entered.enter_async_context(delivery.held(plan, arguments.processes, shown))
        for _ in range(arguments.rounds):
            if subscriber is not None:
                shown.phase("bare NATS")
                bare.append(await _exchange(subscriber, bare_publishing, arguments.seconds + 10))
            shown.phase("publishing")
            listeners = arguments.connections / arguments.channels
            rounds.append(await delivery.deliver(fleet, publishing, listeners, edges, arguments.seconds + 30))
        shown.phase("leaving")
        tally = await fleet.finish()
    ages = summary.distribution(together(one.heard for one in rounds).ages_s)
    report.update(rounds[-1].figures())
    report.update(
        connections=arguments.connections,
        channels=arguments.channels,
        rounds=[one.figures()["age_s"] for one in rounds],
        age_s=ages,
        lost=sum(one.lost for one in rounds),
        losses=dict(tally.losses),
        generator_loop_lag_s=summary.distribution(tally.loop_lag_s),
        bare_nats_age_s=summary.distribution(together(bare).ages_s) if bare else None,
        bare_nats_rounds=[summary.distribution(one.ages_s) for one in bare],
    )
    report["p99_to_bare_nats"] = _ratio(ages["p99"], together(bare)) if bare else None


async def _exchange(subscriber: BareSubscriber, publishing: Publishing, within_s: float) -> Heard:
    async with PublisherProcess(publishing) as publisher:
        await subscriber.take()
        publisher.begin()
        await publisher.finished(within_s)
        await asyncio.sleep(LAST_WORDS_S)
        return await subscriber.take()


def _ratio(p99: float | None, bare: Heard) -> float | None:
    reference = summary.distribution(bare.ages_s)["p99"]
    return round(p99 / reference, 2) if p99 and reference else None


def _readable(report: Report) -> str:
    def distribution(name: str) -> str:
        figures = report[name]
        return f"{summary.milliseconds(figures)} ms" if isinstance(figures, dict) else "not asked for"

    return summary.table(
        [
            ("subscribers", f"{report['connections']} in {report['channels']} channels"),
            ("delivered", f"{report['delivered']} of {report['expected']} in the last round, {report['lost']} missing"),
            ("age at delivery", distribution("age_s")),
            ("bare NATS", distribution("bare_nats_age_s")),
            ("p99 to bare NATS's", report["p99_to_bare_nats"] or "-"),
            ("API's answer", distribution("publish_answer_s")),
            ("publisher's lateness", distribution("publisher_lateness_s")),
            ("generator's loop lag", distribution("generator_loop_lag_s")),
            *delivery.care(report),
        ]
    )
