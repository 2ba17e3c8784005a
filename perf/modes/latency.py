"""From publish to delivery, across edges: N subscribers held, R publications a second over C channels.

Edges and NATS are perf's own. Publications go to the first edge's server API; every channel has subscribers on all
edges. An age counts from when a publication was due, open loop. With --bare-nats a publisher and a nats-py subscriber
exchange the same on the same NATS, on core subjects, in turn with it: the ratio is what Fairlead adds (JWTs, log,
order, thousands of sockets). --arrivals lets more clients connect meanwhile, as after the start of another edge; --set
changes a setting of the edges. Exit code 1 if a delivery is missing.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace

from perf import options, runner
from perf.load import delivery, delivery_counter
from perf.load.bare_nats import BareSubscriber, Listening
from perf.load.delivery import Delivery, DeliveryFigures
from perf.load.delivery_counter import Deliveries
from perf.load.fleet import Fleet
from perf.load.pacing import Schedule
from perf.load.publish_targets import NatsPublish
from perf.load.publisher import Publishing
from perf.load.publisher_process import PublisherProcess
from perf.report import reliability, tables
from perf.report.distribution import Distribution, distribution
from perf.report.figures import Figures
from perf.report.progress_bar import Bar
from perf.servers.edge import OwnEdge
from perf.servers.stack import OwnStack, running_stack
from perf.settings import PerfSettings

LAST_DELIVERY_S = 0.5


class LatencyFigures(Figures):
    """`last` is the last round; `age_s` is of all rounds together, `rounds` of each."""

    FLAT = ("last",)

    last: DeliveryFigures
    connections: int
    channels: int
    rounds: list[Distribution]
    age_s: Distribution
    lost: int
    losses: dict[str, int]
    generator_loop_lag_s: Distribution
    bare_nats_age_s: Distribution | None
    bare_nats_rounds: list[Distribution]
    p99_to_bare_nats: float | None

    def table(self) -> str:
        last, bare = self.last, self.bare_nats_age_s
        return tables.text(
            [
                ("subscribers", f"{self.connections} in {self.channels} channels"),
                ("delivered", f"{last.delivered} of {last.expected} in the last round, {self.lost} missing"),
                ("age at delivery", f"{self.age_s.in_ms()} ms"),
                ("bare NATS", f"{bare.in_ms()} ms" if bare else "not asked for"),
                ("p99 to bare NATS's", self.p99_to_bare_nats or "-"),
                ("API's answer", f"{last.publish_answer_s.in_ms()} ms"),
                ("publisher's lateness", f"{last.publisher_lateness_s.in_ms()} ms"),
                ("generator's loop lag", f"{self.generator_loop_lag_s.in_ms()} ms"),
                *reliability.busy_clients(last.generator_busy),
            ]
        )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    options.add_own_clients(parser, connections=5000)
    options.add_publishing(parser, rate=100, seconds=10)
    parser.add_argument("--channels", type=int, default=100, help="how many (%(default)s)")
    parser.add_argument("--edges", type=int, default=2, help="edge processes (%(default)s)")
    parser.add_argument("--rounds", type=int, default=2, help="measured so often (%(default)s)")
    parser.add_argument("--live", action="store_true", help="channels without history")
    parser.add_argument("--arrivals", type=int, default=0, help="more clients that connect meanwhile (%(default)s)")
    parser.add_argument("--arrival-rate", type=float, default=400.0, help="how many of them a second (%(default)s)")
    parser.add_argument(
        "--set", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"), help="edge_drain_rate 10"
    )
    parser.add_argument("--bare-nats", action="store_true", help="measure NATS alone as well, in turn")


async def run(arguments: argparse.Namespace, settings: PerfSettings) -> int:
    options.check_publishing(arguments)
    expected_s = options.expected_s(arguments, arguments.rounds * 2 * (arguments.seconds + 10))
    figures = await runner.measured(arguments, expected_s, measure, arguments.connections)
    return int(figures is None or bool(figures.lost))


async def measure(arguments: argparse.Namespace, shown: Bar) -> LatencyFigures:
    settings = dict(arguments.set)
    async with running_stack() as stack, stack.edges(arguments.edges, **settings) as edges:
        return await _measure(stack, edges, arguments, shown)


async def _measure(stack: OwnStack, edges: list[OwnEdge], arguments: argparse.Namespace, shown: Bar) -> LatencyFigures:
    kind = "live" if arguments.live else "log"
    plan = options.own_plan(arguments, stack, edges, f"{kind}:room-{{room}}", arguments.channels)
    schedule = Schedule(round(arguments.publish_rate * arguments.seconds), arguments.publish_rate)
    publishing = Publishing(stack.api(edges[0]), plan.dialect.channels(), schedule, size=arguments.size)
    subjects = tuple(f"bare.{number}" for number in range(arguments.channels))
    bare_publishing = Publishing(NatsPublish(stack.nats_port), subjects, schedule, size=arguments.size)
    bare: list[Deliveries] = []
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
            subscribers = arguments.connections / arguments.channels
            async with _arriving(stack, edges, arguments, shown):
                rounds.append(await delivery.deliver(fleet, publishing, subscribers, edges, arguments.seconds + 30))
        shown.phase("leaving")
        tally = await fleet.finish()
    age_s = distribution(delivery_counter.total(one.deliveries for one in rounds).ages_s)
    bare_age_s = distribution(delivery_counter.total(bare).ages_s) if bare else None
    return LatencyFigures(
        last=rounds[-1].figures(),
        connections=arguments.connections,
        channels=arguments.channels,
        rounds=[distribution(one.deliveries.ages_s) for one in rounds],
        age_s=age_s,
        lost=sum(one.lost for one in rounds),
        losses=dict(tally.losses),
        generator_loop_lag_s=distribution(tally.loop_lag_s),
        bare_nats_age_s=bare_age_s,
        bare_nats_rounds=[distribution(one.ages_s) for one in bare],
        p99_to_bare_nats=_ratio(age_s, bare_age_s) if bare_age_s else None,
    )


@contextlib.asynccontextmanager
async def _arriving(
    stack: OwnStack, edges: list[OwnEdge], arguments: argparse.Namespace, shown: Bar
) -> AsyncIterator[None]:
    """Has --arrivals clients connect, each to a channel of its own, until the end of the block."""
    if not arguments.arrivals:
        yield
        return
    plan = options.own_plan(arguments, stack, edges, "log:own-{i}")
    plan = replace(plan, schedule=Schedule(arguments.arrivals, arguments.arrival_rate))
    async with Fleet(plan, 1, shown.show) as fleet:
        fleet.begin()
        yield
        await fleet.finish()


async def _exchange(subscriber: BareSubscriber, publishing: Publishing, within_s: float) -> Deliveries:
    async with PublisherProcess(publishing) as publisher:
        await subscriber.take()
        publisher.begin()
        await publisher.finished(within_s)
        await asyncio.sleep(LAST_DELIVERY_S)
        return await subscriber.take()


def _ratio(ours: Distribution, bare: Distribution) -> float | None:
    return round(ours.p99 / bare.p99, 2) if ours.p99 and bare.p99 else None
