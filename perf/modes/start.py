"""How long an edge takes from its start until it is ready, with NATS running.

NATS is perf's own; edges are started one after the other. An edge is ready when /readyz answers 200, which is asked
every few milliseconds. With --container it runs in a container of that image, whose start counts. Exit code 1 if the
median is above --bound.
"""

from __future__ import annotations

import argparse
import functools
import time

from perf import runner
from perf.errors import Refusal
from perf.report import tables
from perf.report.distribution import Distribution, distribution
from perf.report.figures import Figures
from perf.report.progress_bar import Bar
from perf.servers.container import created_container
from perf.servers.edge import running_edge
from perf.servers.stack import OwnStack, running_stack
from perf.settings import PerfSettings

POLL_S = 0.003


class StartFigures(Figures):
    """Seconds from the start of the process until it was ready, and the CPU seconds that it used for that."""

    starts: int
    ready_s: Distribution
    cpu_s: Distribution
    bound_s: float

    def table(self) -> str:
        return tables.text(
            [
                ("started", self.starts),
                ("ready after", self.ready_s.in_ms() + " ms"),
                ("CPU until then", self.cpu_s.in_ms() + " ms"),
            ]
        )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--starts", type=int, default=10, help="how many (%(default)s)")
    parser.add_argument("--bound", type=float, help="seconds that the median may take (0.6; in a container 1.5)")
    parser.add_argument("--container", metavar="IMAGE", help="in a container: fairlead:local, for instance")
    runner.add_arguments(parser)


async def run(arguments: argparse.Namespace, settings: PerfSettings) -> int:
    if not 0 < arguments.starts <= 200:
        raise Refusal("--starts is 1 to 200")
    figures = await runner.measured(arguments, arguments.starts * 25.0 + 30, measure, 0)
    return int(figures is None or too_slow(figures))


async def measure(arguments: argparse.Namespace, shown: Bar) -> StartFigures:
    shown.phase("starting")
    async with running_stack() as stack:
        start = functools.partial(_start_container, arguments.container) if arguments.container else _start_process
        await start(stack)  # makes the streams, and warms the file cache: not counted
        each = [await start(stack) for _ in range(arguments.starts)]
    return StartFigures(
        starts=len(each),
        ready_s=distribution([ready for ready, _ in each]),
        cpu_s=distribution([cpu for _, cpu in each]),
        bound_s=arguments.bound or (1.5 if arguments.container else 0.6),
    )


async def _start_process(stack: OwnStack) -> tuple[float, float]:
    """Seconds from just before the process was made until it was ready, and the CPU seconds that it had used by
    then."""
    async with running_edge(stack.environ, None) as edge:
        await edge.ready(POLL_S)
        seconds = time.monotonic() - edge.started_at
        return seconds, edge.usage()[1]


async def _start_container(image: str, stack: OwnStack) -> tuple[float, float]:
    """The same, from before `docker start`."""
    async with created_container(image, stack.environ) as container:
        await container.start()
        await container.ready(POLL_S)
        seconds = time.monotonic() - container.started_at
        return seconds, await container.cpu_s()


def too_slow(figures: StartFigures) -> bool:
    return figures.ready_s.p50 is None or figures.ready_s.p50 > figures.bound_s
