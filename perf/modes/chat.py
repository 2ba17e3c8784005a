"""Many rooms, many writers: clients publish over their own sockets, and everyone in the room receives.

Edges and NATS are perf's own. --connections clients are spread over --rooms rooms and take turns to publish, R times a
second in total, open loop. Rooms have history, so each message is stored before its writer is answered. Exit code 1 if
a delivery is missing.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace

from perf import options, runner
from perf.errors import Refusal
from perf.load import delivery
from perf.load.delivery import LAST_DELIVERY_S, Delivery, DeliveryFigures, Usage
from perf.load.fleet import Fleet
from perf.load.pacing import Schedule
from perf.load.plan import ClientPublishing
from perf.load.publisher import Published
from perf.report import reliability, tables
from perf.report.distribution import Distribution, distribution
from perf.report.figures import Figures
from perf.report.progress_bar import Bar
from perf.servers.edge import OwnEdge
from perf.servers.stack import OwnStack, running_stack
from perf.settings import PerfSettings


class ChatFigures(Figures):
    FLAT = ("delivery",)

    delivery: DeliveryFigures
    connections: int
    rooms: int
    edge_cpu_us_per_message: float
    losses: dict[str, int]
    generator_loop_lag_s: Distribution

    def table(self) -> str:
        one = self.delivery
        return tables.text(
            [
                ("published", f"{one.published} by {self.connections} clients in {self.rooms} rooms"),
                ("delivered", f"{one.delivered} of {one.expected}, {one.lost} missing"),
                ("age at delivery", one.age_s.in_ms() + " ms"),
                ("edge CPU", f"{self.edge_cpu_us_per_message} us for each message with its deliveries"),
                ("writers' lateness", one.publisher_lateness_s.in_ms() + " ms"),
                *reliability.busy_clients(one.generator_busy),
            ]
        )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    options.add_own_clients(parser, connections=1000)
    options.add_publishing(parser, rate=200, seconds=10)
    parser.add_argument("--rooms", type=int, default=100, help="how many (%(default)s)")
    parser.add_argument("--edges", type=int, default=2, help="edge processes (%(default)s)")


async def run(arguments: argparse.Namespace, settings: PerfSettings) -> int:
    options.check_publishing(arguments)
    if not arguments.publish_rate or arguments.connections % arguments.rooms:
        raise Refusal("--publish-rate is above 0, and --connections a multiple of --rooms")
    expected_s = options.expected_s(arguments, arguments.seconds + 30)
    figures = await runner.measured(arguments, expected_s, measure, arguments.connections)
    return int(figures is None or bool(figures.delivery.lost))


async def measure(arguments: argparse.Namespace, shown: Bar) -> ChatFigures:
    async with running_stack() as stack, stack.edges(arguments.edges) as edges:
        return await _measure(arguments, stack, edges, shown)


async def _measure(arguments: argparse.Namespace, stack: OwnStack, edges: list[OwnEdge], shown: Bar) -> ChatFigures:
    plan = options.own_plan(arguments, stack, edges, "log:room-{room}", arguments.rooms)
    schedule = Schedule(round(arguments.publish_rate * arguments.seconds), arguments.publish_rate)
    plan = replace(plan, client_publishing=ClientPublishing(schedule, arguments.size))
    async with delivery.held(plan, arguments.processes, shown) as fleet:
        shown.phase("chatting")
        members = arguments.connections // arguments.rooms
        chatted = await chat(fleet, schedule.count, members, arguments.seconds, edges)
        shown.phase("leaving")
        tally = await fleet.finish()
    chatted.published.lateness_s = tally.publish_lateness_s
    return ChatFigures(
        delivery=chatted.figures(),
        connections=arguments.connections,
        rooms=arguments.rooms,
        edge_cpu_us_per_message=round(chatted.cost.cpu_s / max(1, chatted.published.accepted) * 1e6, 1),
        losses=dict(tally.losses),
        generator_loop_lag_s=distribution(tally.loop_lag_s),
    )


async def chat(fleet: Fleet, count: int, members: int, seconds: float, edges: list[OwnEdge]) -> Delivery:
    """The clients publish `count` times, each to a room with `members` members, for about `seconds` seconds."""
    await fleet.take()
    before = delivery.usage(edges)
    began_at = fleet.begin_publishing()
    await fleet.until(lambda: fleet.progress.published >= count, seconds + 20)
    expected = fleet.progress.published * members
    await fleet.until(lambda: fleet.progress.messages >= expected, LAST_DELIVERY_S)
    after = delivery.usage(edges)
    published = Published(due=count, accepted=fleet.progress.published)
    cost = Usage(after.rss_bytes, after.cpu_s - before.cpu_s)
    return Delivery(published, await fleet.take(), expected, cost, began_at, time.monotonic(), fleet.processes)
