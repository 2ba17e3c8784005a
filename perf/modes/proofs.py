"""What it costs NATS to record which publications its channels had, for much longer than a log keeps them.

Five ways, each on its own NATS server, in turn, --repeats times: nothing; markers that NATS leaves when the log of a
channel has expired; a stream of the republished messages; a record written with each publication; an index, which is
what Fairlead has (docs/decisions/0019-an-index-proves-recoveries.md). The figures are the server's CPU for a
publication, the bytes that it keeps of a channel beyond the log, and the time of the requests of one cold resume.
Medians.
"""

from __future__ import annotations

import argparse
import time
from statistics import median

import nats

from deploy.processes import process_tree
from perf import runner
from perf.errors import Refusal
from perf.report import tables
from perf.report.figures import Figures
from perf.report.progress_bar import Bar
from perf.servers.log_proofs_nats import WAYS, Log
from perf.servers.stack import running_stack
from perf.settings import PerfSettings

_RESUMES = 200
_WAY_S = 60.0


class WayFigures(Figures):
    """One way. CPU in microseconds a publication, the resume in milliseconds."""

    way: str
    cpu_us: float
    bytes_a_channel: int
    resume_ms: float


class ProofFigures(Figures):
    """All ways, on the same server program in one run."""

    publications: int
    channels: int
    payload: int
    ways: list[WayFigures]

    def table(self) -> str:
        least = self.ways[0].cpu_us or float("nan")  # the kernel counts in hundredths of a second
        return tables.markdown(
            ("way", "CPU a publication, µs", "of none", "GB for a million channels", "cold resume, ms"),
            [
                (
                    each.way,
                    each.cpu_us,
                    round(each.cpu_us / least, 2),
                    round(each.bytes_a_channel / 1000, 2),
                    each.resume_ms,
                )
                for each in self.ways
            ],
        )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--publications", type=int, default=20_000, help="for each way and repeat (%(default)s)")
    parser.add_argument("--channels", type=int, default=1_000, help="in turn (%(default)s)")
    parser.add_argument("--payload", type=int, default=128, help="bytes (%(default)s)")
    parser.add_argument("--repeats", type=int, default=3, help="of all ways (%(default)s)")
    runner.add_arguments(parser)


async def run(arguments: argparse.Namespace, settings: PerfSettings) -> int:
    bounds = (("publications", 1_000, 1_000_000), ("channels", 1, 200_000), ("payload", 1, 100_000), ("repeats", 1, 20))
    for name, least, most in bounds:
        if not least <= getattr(arguments, name) <= most:
            raise Refusal(f"--{name} is {least} to {most}")
    figures = await runner.measured(arguments, arguments.repeats * len(WAYS) * _WAY_S, measure, 0)
    return int(figures is None)


async def measure(arguments: argparse.Namespace, shown: Bar) -> ProofFigures:
    found: dict[str, list[WayFigures]] = {way: [] for way in WAYS}
    for repeat in range(arguments.repeats):
        for way in WAYS:
            shown.phase(f"{way}, {repeat + 1} of {arguments.repeats}")
            found[way].append(await _measure(arguments, way))
    return ProofFigures(
        publications=arguments.publications,
        channels=arguments.channels,
        payload=arguments.payload,
        ways=[
            WayFigures(
                way=way,
                cpu_us=round(median(each.cpu_us for each in all_of), 1),
                bytes_a_channel=round(median(each.bytes_a_channel for each in all_of)),
                resume_ms=round(median(each.resume_ms for each in all_of), 2),
            )
            for way, all_of in found.items()
        ],
    )


async def _measure(arguments: argparse.Namespace, way: str) -> WayFigures:
    async with running_stack() as stack:
        client = await nats.connect(stack.nats_url)
        try:
            log = Log(client, way, arguments.channels, arguments.payload)
            await log.make()
            before = process_tree.cpu_s(stack.nats_pid)
            await log.publish(arguments.publications)
            cpu_s = process_tree.cpu_s(stack.nats_pid) - before
            began = time.monotonic()
            for number in range(_RESUMES):
                await log.resume(number)
            resume_s = time.monotonic() - began
            return WayFigures(
                way=way,
                cpu_us=cpu_s / arguments.publications * 1e6,
                bytes_a_channel=round(await log.record_bytes()),
                resume_ms=resume_s / _RESUMES * 1e3,
            )
        finally:
            await client.close()
