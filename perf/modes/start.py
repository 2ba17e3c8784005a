"""How long an edge takes from being started to being ready, NATS running.

NATS is perf's own; edges are started one after the other. An edge is ready when /readyz says 200, which is asked every
few milliseconds. With --container it runs in a container of that image, whose start counts. Exit code 1 when the median
is above --bound.
"""

from __future__ import annotations

import argparse
import functools
import time

from perf import own_container, own_edge, own_stack, reporting, summary
from perf.own_stack import OwnStack
from perf.progress_bar import Bar
from perf.refusal import Refusal
from perf.reporting import Report
from perf.settings import PerfSettings

POLL_S = 0.003


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--starts", type=int, default=10, help="how many (%(default)s)")
    parser.add_argument("--bound", type=float, help="seconds that the median may take (0.6; in a container 1.5)")
    parser.add_argument("--container", metavar="IMAGE", help="in a container: fairlead:local, for instance")
    reporting.add_arguments(parser)


async def run(arguments: argparse.Namespace, settings: PerfSettings) -> int:
    if not 0 < arguments.starts <= 200:
        raise Refusal("--starts is 1 to 200")

    report = await reporting.reported(arguments, arguments.starts * 25.0 + 30, measure, _readable, 0)
    return int(report is None or too_slow(report))


async def measure(arguments: argparse.Namespace, shown: Bar, report: Report) -> None:
    shown.phase("starting")
    async with own_stack.running() as stack:
        start = functools.partial(start_container, arguments.container) if arguments.container else start_one
        await start(stack)  # makes the streams, and warms the file cache: not counted
        each = [await start(stack) for _ in range(arguments.starts)]
    report.update(starts=len(each), ready_s=summary.distribution([ready for ready, _ in each]))
    report["cpu_s"] = summary.distribution([cpu for _, cpu in each])
    report["bound_s"] = arguments.bound or (1.5 if arguments.container else 0.6)


async def start_one(stack: OwnStack) -> tuple[float, float]:
    """Seconds from before the process was made to its being ready, and the CPU seconds that it had used then."""
    async with own_edge.running(stack.environ, None) as edge:
        await edge.ready(POLL_S)
        seconds = time.monotonic() - edge.started_at
        return seconds, edge.usage()[1]


async def start_container(image: str, stack: OwnStack) -> tuple[float, float]:
    """The same from before `docker start`."""
    async with own_container.created(image, stack.environ) as container:
        await container.start()
        await container.ready(POLL_S)
        seconds = time.monotonic() - container.started_at
        return seconds, await container.cpu_s()


def too_slow(report: Report) -> bool:
    ready, bound = report["ready_s"], report["bound_s"]
    assert isinstance(ready, dict) and isinstance(bound, float)
    return bool(ready["p50"] > bound)


def _readable(report: Report) -> str:
    ready, cpu = report["ready_s"], report["cpu_s"]
    assert isinstance(ready, dict) and isinstance(cpu, dict)
    return summary.table(
        [
            ("started", report["starts"]),
            ("ready after", summary.milliseconds(ready) + " ms"),
            ("CPU until then", summary.milliseconds(cpu) + " ms"),
        ]
    )
