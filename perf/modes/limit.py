"""How far off the capacity model is: it learns from a lightly loaded edge, and then the edge is taken to its limit.

One edge. It is held at a tenth, a fifth and two fifths of --connections, each at a few rates of publications that all
clients receive, and the metrics service's model is fitted to what that cost. Then, with all --connections, the model
says at which rate the edge uses --share of a core, and what memory and descriptors it takes; the edge is taken to half
of that rate and beyond it, and what it really used is compared. Exit code 1 if the predicted rate is off by more than
--bound.
"""

from __future__ import annotations

import argparse
import contextlib
import time
from dataclasses import dataclass, replace
from itertools import pairwise

from perf import options, runner
from perf.errors import Refusal, RunFailed
from perf.load import delivery
from perf.load.fleet import Fleet
from perf.load.pacing import Schedule
from perf.load.publisher import Publishing
from perf.report import tables
from perf.report.figures import Figures
from perf.report.progress_bar import Bar
from perf.servers.edge import OwnEdge
from perf.servers.stack import OwnStack, running_stack
from perf.settings import PerfSettings
from services.edge.connection.memory_watch import KERNEL_BYTES
from services.metrics.capacity.laws import Laws, fit_laws
from services.metrics.capacity.levels import Levels
from services.metrics.minutes import Minute

SHARED = "log:all"
LEARNED_AT = (0.1, 0.2, 0.4)
RATES = (10.0, 30.0)
APPROACH = (0.5, 0.75, 1.0, 1.25)
"""Shares of the predicted rate that the edge is taken to."""

_LEAST_S = 0.5


class Step(Figures):
    """One rate with all connections: what was used, and what the model predicted."""

    publications_a_second: float
    deliveries_a_second: float
    cpu: float
    cpu_predicted: float


class LimitFigures(Figures):
    """`limit_...` are the publications a second at which the edge uses `share` of a core; `..._off` is by which share
    of the measured value the prediction is too high."""

    connections: int
    share: float
    levels: int
    quality: float
    steps: list[Step]
    limit_predicted: float
    limit_measured: float
    limit_off: float
    memory_predicted: float
    memory_measured: float
    memory_off: float
    descriptors_off: float

    def table(self) -> str:
        rows: list[tables.Row] = [
            (f"{one.publications_a_second} publications/s", f"{one.cpu} cores, predicted {one.cpu_predicted}")
            for one in self.steps
        ]
        rows += [
            (
                f"{self.share} of a core at",
                f"{self.limit_measured} publications/s, predicted {self.limit_predicted}: {self.limit_off:+.1%}",
            ),
            ("memory", _against(self.memory_measured, self.memory_predicted, self.memory_off)),
            ("descriptors", f"{self.descriptors_off:+.1%}"),
            ("fit of the CPU law", f"R² {self.quality} over {self.levels} levels"),
        ]
        return tables.text(rows)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    options.add_own_clients(parser, connections=1000)
    parser.add_argument("--share", type=float, default=0.5, help="the limit, in cores (%(default)s)")
    parser.add_argument("--seconds", type=float, default=5.0, help="how long each rate is held (%(default)s)")
    parser.add_argument("--bound", type=float, default=0.25, help="how far the rate may be off (%(default)s)")


async def run(arguments: argparse.Namespace, settings: PerfSettings) -> int:
    if not 0.05 <= arguments.share <= 0.95 or arguments.seconds < _LEAST_S or arguments.connections < 50:
        raise Refusal(f"--share is 0.05 to 0.95, --seconds at least {_LEAST_S}, --connections at least 50")
    steps = len(LEARNED_AT) * len(RATES) + len(APPROACH)
    expected_s = options.expected_s(arguments, 4 * steps * arguments.seconds + 60)
    figures = await runner.measured(arguments, expected_s, measure, arguments.connections)
    return int(figures is None or abs(figures.limit_off) > arguments.bound)


async def measure(arguments: argparse.Namespace, shown: Bar) -> LimitFigures:
    levels = Levels()
    async with running_stack() as stack, stack.edge() as edge:
        bench = _Bench(arguments, stack, edge)
        for part in LEARNED_AT:
            count = max(2, round(arguments.connections * part))
            async with bench.fleet(count, shown) as fleet:
                for rate in RATES:
                    levels.add(await bench.at(fleet, count, rate))
        laws = fit_laws(levels)
        count = arguments.connections
        predicted = limit_of(laws, count, arguments.share)
        async with bench.fleet(count, shown) as fleet:
            reached = [await bench.at(fleet, count, predicted * part) for part in APPROACH]
    last = reached[-1]
    measured = crossing([(one.publishes, one.cpu) for one in reached], arguments.share)
    memory, fds = laws["memory"].usage(last), laws["descriptors"].usage(last)
    return LimitFigures(
        connections=count,
        share=arguments.share,
        levels=len(levels),
        quality=round(laws["cpu"].quality, 4),
        steps=[
            Step(
                publications_a_second=round(one.publishes, 2),
                deliveries_a_second=round(one.messages_out),
                cpu=round(one.cpu, 4),
                cpu_predicted=round(laws["cpu"].usage(one), 4),
            )
            for one in reached
        ],
        limit_predicted=round(predicted, 2),
        limit_measured=round(measured, 2),
        limit_off=round(predicted / measured - 1, 4),
        memory_predicted=round(memory),
        memory_measured=round(last.memory_bytes),
        memory_off=round(memory / last.memory_bytes - 1, 4),
        descriptors_off=round(fds / last.open_fds - 1, 4),
    )


@dataclass
class _Bench:
    """One edge, and what it costs at a load."""

    arguments: argparse.Namespace
    stack: OwnStack
    edge: OwnEdge

    def fleet(self, count: int, shown: Bar) -> contextlib.AbstractAsyncContextManager[Fleet]:
        """A fleet of `count` clients that all listen."""
        plan = options.own_plan(self.arguments, self.stack, [self.edge], SHARED)
        schedule = Schedule(count, self.arguments.rate)
        return delivery.held(replace(plan, schedule=schedule, sample_every=10), self.arguments.processes, shown)

    async def at(self, fleet: Fleet, count: int, rate: float) -> Minute:
        """The figures of the edge while so many publications a second reach all clients, as a minute."""
        seconds = self.arguments.seconds
        publishing = Publishing(self.stack.api(self.edge), (SHARED,), Schedule(max(1, round(rate * seconds)), rate))
        began, cpu_before = time.monotonic(), self.edge.usage()[1]
        done = await delivery.deliver(fleet, publishing, count, [self.edge], seconds + 30)
        rss, cpu = self.edge.usage()
        took = time.monotonic() - began
        if done.lost:
            raise RunFailed(f"{done.lost} of {done.expected} deliveries did not come")
        return Minute(
            0,
            self.edge.name,
            60,
            connections=count,
            channels=1,
            subscriptions=count,
            messages_out=done.deliveries.messages / took,
            publishes=done.published.accepted / took,
            cpu=(cpu - cpu_before) / took,
            memory_bytes=rss + KERNEL_BYTES * count,
            open_fds=self.edge.descriptors(),
        )


def _against(measured: float, predicted: float, off: float) -> str:
    return f"{measured / 1e6:.1f} MB, predicted {predicted / 1e6:.1f}: {off:+.1%}"


def limit_of(laws: Laws, count: int, share: float) -> float:
    """The rate of publications at which an edge with `count` connections uses `share` of a core."""
    idle = Minute(0, "", 60, connections=count, channels=1, subscriptions=count)
    law = laws["cpu"]
    each = law.variable(idle._replace(publishes=1, messages_out=count)) - law.variable(idle)
    if each <= 0 or law.usage(idle) >= share:
        raise RunFailed("the model sees no room between an idle edge and the limit: use a larger --share")
    return (share - law.usage(idle)) / each


def crossing(points: list[tuple[float, float]], share: float) -> float:
    """The rate at which the line through the two points around `share`, or the two nearest, reaches it."""
    ordered = sorted(points)
    pairs = list(pairwise(ordered))
    (x0, y0), (x1, y1) = next((pair for pair in pairs if pair[1][1] >= share), pairs[-1])
    return x0 + (share - y0) * (x1 - x0) / (y1 - y0) if y1 > y0 else x1
