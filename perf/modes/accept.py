"""The CPU cost of accepting a client: an edge against a plain Starlette WebSocket, in turn, with the same generator.

Edge and NATS are perf's own. An edge checks a JWT, answers connect and one subscribe, and has the session's events
stored in JetStream; Starlette only accepts (its server is `perf.systems.starlette_broadcast`). The subscribe is to one
channel that all share, and in a second measurement to a separate channel for each client, which the edge must open
first: it subscribes on NATS and asks JetStream for the end of the channel's log. What counts is the CPU of the server's
process, user and system, from before the first client until a moment after the last. Other clients have connected and
left before, because a server that has run for a minute has loaded everything that it needs.
"""

from __future__ import annotations

import argparse
import asyncio
from dataclasses import replace

from perf import options, runner
from perf.load import delivery
from perf.load.delivery import Server
from perf.load.pacing import Schedule
from perf.load.plan import Plan
from perf.load.target import Target
from perf.report import tables
from perf.report.distribution import median_ratio
from perf.report.figures import Figures
from perf.report.progress_bar import Bar
from perf.servers.stack import OwnStack, running_stack
from perf.settings import PerfSettings
from perf.systems import reference

TAIL_S = 0.5
"""The time after the last client in which collected session events are sent; its CPU counts."""

WARM_UP = 200
"""How many clients connect before anything is counted."""


class AcceptFigures(Figures):
    """CPU microseconds for each client, one value for each round; the ratios are medians over the rounds."""

    connections: int
    edge_cpu_us: list[float]
    own_channel_cpu_us: list[float]
    starlette_cpu_us: list[float]
    ratio: float
    own_channel_ratio: float

    def table(self) -> str:
        def listed(values: list[float]) -> str:
            return "  ".join(map(str, values)) + " us of CPU for each"

        return tables.text(
            [
                ("clients", self.connections),
                ("an edge, JWT to session log", listed(self.edge_cpu_us)),
                ("with a channel to open for each", listed(self.own_channel_cpu_us)),
                ("a bare Starlette accept", listed(self.starlette_cpu_us)),
                ("edge to Starlette", self.ratio),
                ("with a channel to open, to Starlette", self.own_channel_ratio),
            ]
        )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    options.add_own_clients(parser, connections=2000)
    parser.add_argument("--rounds", type=int, default=3, help="number of rounds; the median counts (%(default)s)")


async def run(arguments: argparse.Namespace, settings: PerfSettings) -> int:
    expected_s = 3 * arguments.rounds * options.expected_s(arguments, 10)
    figures = await runner.measured(arguments, expected_s, measure, arguments.connections)
    return int(figures is None)


async def measure(arguments: argparse.Namespace, shown: Bar) -> AcceptFigures:
    shared_s: list[float] = []
    own_s: list[float] = []
    starlette_s: list[float] = []
    async with running_stack() as stack:
        for _ in range(arguments.rounds):
            shared_s.append(await _by_an_edge(stack, arguments, shown, "log:shared"))
            starlette_s.append(await _by_starlette(arguments, shown))
            own_s.append(await _by_an_edge(stack, arguments, shown, "log:own-{i}"))
    return AcceptFigures(
        connections=arguments.connections,
        edge_cpu_us=_microseconds(shared_s),
        own_channel_cpu_us=_microseconds(own_s),
        starlette_cpu_us=_microseconds(starlette_s),
        ratio=median_ratio(shared_s, starlette_s),
        own_channel_ratio=median_ratio(own_s, starlette_s),
    )


def _microseconds(seconds: list[float]) -> list[float]:
    return [round(one * 1e6, 1) for one in seconds]


async def _by_an_edge(stack: OwnStack, arguments: argparse.Namespace, shown: Bar, channel: str) -> float:
    async with stack.edge() as edge:
        plan = options.own_plan(arguments, stack, [edge], channel)
        return await cpu_s_for_each(edge, plan, arguments.processes, shown)


async def _by_starlette(arguments: argparse.Namespace, shown: Bar) -> float:
    async with reference.starlette() as server:
        plan = options.plan(arguments, Target("127.0.0.1", server.port, ""), server.dialect)
        return await cpu_s_for_each(server, plan, arguments.processes, shown)


async def cpu_s_for_each(server: Server, plan: Plan, processes: int, shown: Bar) -> float:
    warm_up = replace(plan, schedule=Schedule(min(WARM_UP, plan.schedule.count), plan.schedule.rate))
    async with delivery.held(warm_up, processes, shown) as fleet:
        await fleet.finish()
    await asyncio.sleep(TAIL_S)
    _, before = server.usage()
    async with delivery.held(plan, processes, shown) as fleet:
        await asyncio.sleep(TAIL_S)
        _, after = server.usage()
        await fleet.finish()
    return (after - before) / plan.schedule.count
