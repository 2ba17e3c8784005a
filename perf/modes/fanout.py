"""What one edge delivers: a channel with N subscribers, and R publications a second or as many as the edge can take.

Edge and NATS are perf's own. Reports deliveries for each second of the edge's CPU (the figure that compares, however
busy the machine is), deliveries a second by the clock, and whether any is missing. --publish-rate 0 saturates: --window
publications are unanswered at any time, and ages mean nothing. --live uses a channel without history; with a rate its
publications are sent on NATS, bypassing the server API. --against does the same to other servers, in turn with the
edge: starlette, a plain broadcast; send-loop, a C program that does nothing but send(). --bystander: one more client,
which is in no channel, pings the edge meanwhile, and others connect; its pings are reported without the time for which
it or the edge waited for a core. Exit code 1 if a delivery of the edge is missing.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import statistics
import time
from collections.abc import AsyncIterator
from dataclasses import replace

from deploy.processes.ports import HOST
from perf import options, runner
from perf.load import delivery
from perf.load.bystander import Bystander
from perf.load.delivery import Delivery, DeliveryFigures, Server
from perf.load.dialects.centrifuge import PATH, connection_token
from perf.load.pacing import Schedule
from perf.load.plan import Plan
from perf.load.publish_targets import PublishTarget
from perf.load.publisher import Publishing
from perf.load.target import Target
from perf.report import reliability, tables
from perf.report.distribution import Distribution, distribution
from perf.report.figures import Figures
from perf.report.progress_bar import Bar
from perf.servers.edge import OwnEdge
from perf.servers.stack import OwnStack, running_stack
from perf.settings import PerfSettings
from perf.systems import reference

EDGE = "edge"
LOGGED, LIVE = "log:fanout", "live:fanout"
SAMPLES_WANTED = 100_000
MOST_S = 600.0
ASSUMED_RATE = 500
"""The publications a second that a saturating run is assumed to reach, where the number must be known in advance."""


class FanoutFigures(Figures):
    """`last` is the edge's last round, `each` all rounds by server; the ratios are medians over the rounds."""

    FLAT = ("last",)

    last: DeliveryFigures
    connections: int
    rate_asked_per_s: float | None
    lost: int
    each: dict[str, list[DeliveryFigures]]
    deliveries_per_cpu_s: dict[str, int]
    ratio_to: dict[str, float]
    bystander_ping_s: Distribution | None = None  # without the time in which edge or bystander waited for a core

    def table(self) -> str:
        last, per_cpu_s = self.last, self.deliveries_per_cpu_s
        others = [
            (name, f"{per_cpu_s[name]} for each CPU second: the edge does {ratio} times that")
            for name, ratio in self.ratio_to.items()
        ]
        bystander = [("a bystander's pings", self.bystander_ping_s.in_ms() + " ms")] if self.bystander_ping_s else []
        return tables.text(
            [
                ("published", f"{last.published} to {self.connections} subscribers"),
                ("delivered", f"{last.delivered} of {last.expected}, {self.lost} missing"),
                ("for each CPU second", f"{per_cpu_s[EDGE]} deliveries"),
                ("by the clock", f"{last.deliveries_per_s} deliveries a second"),
                ("age at delivery", last.age_s.in_ms() + " ms"),
                ("publisher's lateness", last.publisher_lateness_s.in_ms() + " ms"),
                *others,
                *bystander,
                *reliability.busy_clients(last.generator_busy),
            ]
        )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    options.add_own_clients(parser, connections=1000)
    options.add_publishing(parser, rate=0, seconds=5)
    parser.add_argument(
        "--window", type=int, default=4, help="unanswered publications of a saturating run (%(default)s)"
    )
    parser.add_argument("--live", action="store_true", help="a channel without history")
    parser.add_argument("--rounds", type=int, default=1, help="number of rounds; the median counts (%(default)s)")
    parser.add_argument(
        "--against", nargs="+", choices=list(reference.ALL), default=[], help="other servers, in turn (default: none)"
    )
    parser.add_argument("--bystander", action="store_true", help="also measure pings of a client that is in no channel")


async def run(arguments: argparse.Namespace, settings: PerfSettings) -> int:
    options.check_publishing(arguments)
    servers = 1 + len(arguments.against)
    expected_s = arguments.rounds * servers * options.expected_s(arguments, arguments.seconds + 30)
    figures = await runner.measured(arguments, expected_s, measure, arguments.connections)
    return int(figures is None or figures.lost != 0 or bool(figures.last.publish_failures))


async def measure(arguments: argparse.Namespace, shown: Bar) -> FanoutFigures:
    pings: list[float] = []
    rounds: dict[str, list[Delivery]] = {name: [] for name in (EDGE, *arguments.against)}
    async with running_stack() as stack:
        for _ in range(arguments.rounds):
            rounds[EDGE].append(await _on_an_edge(stack, arguments, shown, pings))
            for name in arguments.against:
                rounds[name].append(await _on_a_reference(name, arguments, shown))
    edge = rounds[EDGE]
    return FanoutFigures(
        last=edge[-1].figures(),
        connections=arguments.connections,
        rate_asked_per_s=arguments.publish_rate or None,
        lost=sum(one.lost for one in edge),
        each={name: [one.figures() for one in several] for name, several in rounds.items()},
        deliveries_per_cpu_s={
            name: round(statistics.median(one.per_cpu_s for one in several)) for name, several in rounds.items()
        },
        ratio_to={name: _median_ratio(edge, rounds[name]) for name in arguments.against},
        bystander_ping_s=distribution(pings) if pings else None,
    )


def _median_ratio(ours: list[Delivery], theirs: list[Delivery]) -> float:
    each = (one.per_cpu_s / other.per_cpu_s for one, other in zip(ours, theirs, strict=True))
    return round(statistics.median(each), 3)


async def _on_an_edge(stack: OwnStack, arguments: argparse.Namespace, shown: Bar, pings: list[float]) -> Delivery:
    channel = LIVE if arguments.live else LOGGED
    async with stack.edge() as edge:
        past_the_api = arguments.live and arguments.publish_rate
        target: PublishTarget = stack.past_the_api() if past_the_api else stack.api(edge)
        plan = options.own_plan(arguments, stack, [edge], channel)
        beside = _bystander(stack, edge, pings) if arguments.bystander else None
        return await fan_out(edge, plan, target, arguments, shown, beside)


@contextlib.asynccontextmanager
async def _bystander(stack: OwnStack, edge: OwnEdge, pings: list[float]) -> AsyncIterator[None]:
    token = connection_token("perf-bystander", stack.token_secret, int(time.time()) + 3600)
    bystander = Bystander(f"ws://{HOST}:{edge.port}{PATH}", token, [edge.pid, os.getpid()])
    watching = asyncio.create_task(bystander.watch(MOST_S))
    try:
        yield
    finally:
        watching.cancel()
        await asyncio.wait([watching])
        pings += bystander.own_ping_s


async def _on_a_reference(name: str, arguments: argparse.Namespace, shown: Bar) -> Delivery:
    async with reference.ALL[name]() as server:
        plan = options.plan(arguments, Target("127.0.0.1", server.port, ""), server.dialect)
        return await fan_out(server, plan, server.publish_target, arguments, shown)


async def fan_out(
    server: Server,
    plan: Plan,
    target: PublishTarget,
    arguments: argparse.Namespace,
    shown: Bar,
    beside: contextlib.AbstractAsyncContextManager[None] | None = None,
) -> Delivery:
    """Publishes to connected subscribers; `beside` lets something else happen meanwhile."""
    rate, seconds = arguments.publish_rate, arguments.seconds
    every = arguments.connections * (rate or ASSUMED_RATE) * seconds / SAMPLES_WANTED
    plan = replace(plan, sample_every=max(1, round(every)))
    schedule = Schedule(round(rate * seconds), rate) if rate else None
    publishing = Publishing(
        target, plan.dialect.channels(), schedule, seconds=seconds, window=arguments.window, size=arguments.size
    )
    async with delivery.held(plan, arguments.processes, shown) as fleet:
        shown.phase("publishing")
        async with beside or contextlib.nullcontext():
            delivered = await delivery.deliver(fleet, publishing, arguments.connections, [server], seconds + 30)
        shown.phase("leaving")
        await fleet.finish()
    return delivered
