"""What make up EDGES=auto does while the load rises and falls: clients and edges over time, and what was lost.

The stack must already run, started with EDGES=auto. Clients come in waves, --step seconds apart, each wave in its own
channel with history, which gets --publish-rate publications a second; the last wave stays for --hold seconds, the
others leave one after another, and the first one stays --after seconds more, to see edges drain. Every client
reconnects when its edge drains, and counts its publications. --chart FILE draws clients and edges. Exit code 1 if a
publication was lost or came twice, if a client did not reconnect and recover, or if no edges were started and stopped.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from deploy.local import record
from deploy.local.settings import Folders
from perf import options, runner
from perf.errors import Refusal, RunFailed
from perf.load import target
from perf.load.delivery_counter import Deliveries
from perf.load.dialects.centrifuge import Centrifuge
from perf.load.fleet import Fleet
from perf.load.pacing import Schedule
from perf.load.plan import Plan
from perf.load.publish_targets import PublishTarget, server_api
from perf.load.publisher import Published, Publishing
from perf.load.publisher_process import PublisherProcess
from perf.load.tally import Progress, Tally
from perf.modes.autoscale_figures import AutoscaleFigures, broken_promises
from perf.report import scaling_chart
from perf.report.progress_bar import Bar
from perf.report.scaling_chart import Sample
from perf.settings import PerfSettings

BEGIN = "make up EDGES=auto"
LAST_DELIVERY_S = 15.0
"""Longer than a drain with a reconnect takes."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    options.add_own_clients(parser, connections=2000, rate=200)
    parser.set_defaults(processes=1)
    parser.add_argument("--waves", type=int, default=4, help="waves in which the clients come (%(default)s)")
    parser.add_argument("--step", type=float, default=120.0, help="seconds between two waves (%(default)s)")
    parser.add_argument("--hold", type=float, default=180.0, help="seconds with all of them (%(default)s)")
    parser.add_argument("--after", type=float, default=300.0, help="seconds more for the first wave (%(default)s)")
    parser.add_argument(
        "--publish-rate", type=float, default=10.0, help="publications a second to each wave (%(default)s)"
    )
    parser.add_argument("--size", type=int, default=128, help="bytes of a publication's data (%(default)s)")
    parser.add_argument("--chart", metavar="FILE", help="draw clients and edges over time into this PNG")


async def run(arguments: argparse.Namespace, settings: PerfSettings) -> int:
    if arguments.waves < 1 or arguments.connections % arguments.waves:
        raise Refusal("--waves is at least 1, and --connections a multiple of it")
    if min(arguments.step, arguments.hold, arguments.publish_rate) <= 0 or arguments.after < 0:
        raise Refusal("--step, --hold and --publish-rate are above 0, --after is not below 0")
    folders = Folders(Path.cwd())
    plan = record.read_plan(folders)
    if plan is None or not plan.autoscaled or record.read_scaling(folders) is None:
        raise Refusal(f"no stack with an autoscaler runs here; start one: {BEGIN}")
    run_ = _Run(arguments, settings, folders, server_api(plan.ports.traefik, settings.api_key))
    stay_s = 2 * arguments.step * arguments.waves + arguments.hold + arguments.after
    expected_s = options.expected_s(arguments, stay_s + LAST_DELIVERY_S * arguments.waves + 60)
    figures = await runner.measured(arguments, expected_s, run_.measure, arguments.connections)
    return int(figures is None or bool(figures.broken_promises))


@dataclass
class _Wave:
    """What one wave has seen."""

    tally: Tally
    published: Published
    deliveries: Deliveries
    clients: int


@dataclass
class _Run:
    arguments: argparse.Namespace
    settings: PerfSettings
    folders: Folders
    api: PublishTarget
    samples: list[Sample] = field(default_factory=list)
    changes: list[str] = field(default_factory=list)
    last: str | None = None  # change that the autoscaler has reported
    fleets: dict[int, Fleet] = field(default_factory=dict)  # of the connected waves

    async def measure(self, arguments: argparse.Namespace, shown: Bar) -> AutoscaleFigures:
        began_at = time.monotonic()
        shown.phase("rising, falling")
        async with self._sampling(began_at, shown):
            try:
                async with asyncio.TaskGroup() as group:
                    tasks = [group.create_task(self._wave(number)) for number in range(arguments.waves)]
            except ExceptionGroup as failed:
                raise failed.exceptions[0] from None
        waves = [task.result() for task in tasks]
        if arguments.chart:
            scaling_chart.draw(Path(arguments.chart), self.samples)
        return self._figures(waves)

    async def _wave(self, number: int) -> _Wave:
        """The clients of one wave connect, listen and leave."""
        arguments = self.arguments
        await asyncio.sleep(number * arguments.step)
        plan = self._plan(number)
        above = arguments.waves - 1 - number  # waves that come later and leave earlier
        stay_s = 2 * above * arguments.step + arguments.hold + (0 if number else arguments.after)
        schedule = Schedule(round(arguments.publish_rate * stay_s), arguments.publish_rate)
        # One connection, which waits for each answer: publications keep the order of their numbers.
        publishing = Publishing(self.api, plan.dialect.channels(), schedule, connections=1, size=arguments.size)
        async with Fleet(plan, arguments.processes) as fleet, PublisherProcess(publishing) as publisher:
            self.fleets[number] = fleet
            fleet.begin()
            await fleet.until(lambda: fleet.settled, plan.settle_within_s)
            if fleet.progress.connected < plan.schedule.count:
                raise RunFailed(f"wave {number + 1}: {fleet.progress.connected} of {plan.schedule.count} connected")
            publisher.begin()
            published = await publisher.finished(stay_s + 60)
            expected = published.accepted * plan.schedule.count
            await fleet.until(lambda: fleet.progress.messages >= expected, LAST_DELIVERY_S)
            deliveries = await fleet.take()
            del self.fleets[number]
            return _Wave(await fleet.finish(), published, deliveries, plan.schedule.count)

    def _plan(self, number: int) -> Plan:
        arguments, at = self.arguments, target.parse(self.settings.websocket_url)
        run = os.urandom(4).hex()
        dialect = Centrifuge(
            channel=f"autoscale-{run}",  # without a namespace: history, and only backends publish
            path=at.path,
            user=f"autoscale-{run}-{{i}}",
            token_secret=self.settings.token_secret,
        )
        of_wave = argparse.Namespace(**vars(arguments) | {"connections": arguments.connections // arguments.waves})
        plan = options.plan(of_wave, at, dialect)
        return replace(plan, ordered=True, sample_every=0, reconnect_port=at.port)

    @contextlib.asynccontextmanager
    async def _sampling(self, began_at: float, shown: Bar) -> AsyncIterator[None]:
        async def sample() -> None:
            while True:
                self._sample(time.monotonic() - began_at, shown)
                await asyncio.sleep(1.0)

        task = asyncio.create_task(sample())
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    def _sample(self, at_s: float, shown: Bar) -> None:
        whole = sum((fleet.progress for fleet in self.fleets.values()), Progress())
        shown.show(whole, total=self.arguments.connections, ended="closed")
        report = record.read_scaling(self.folders)
        if report is None:  # the stack has stopped
            return
        edges = Counter(report.edges.values())
        connected = whole.connected - whole.lost + whole.reconnected
        self.samples.append(
            Sample(round(at_s, 1), connected, edges["ready"], edges["draining"], report.recommended, whole.messages)
        )
        if self.last is not None and report.last != self.last:
            self.changes.append(f"{at_s:.0f} s: {report.last}")
        self.last = report.last

    def _figures(self, waves: list[_Wave]) -> AutoscaleFigures:
        expected = sum(one.published.accepted * one.clients for one in waves)
        delivered = sum(one.deliveries.messages for one in waves)
        gaps = sum(one.deliveries.gaps for one in waves)
        ready = [sample.ready for sample in self.samples]
        most = max(ready, default=0)
        figures = AutoscaleFigures(
            connections=sum(one.tally.progress.connected for one in waves),
            waves=len(waves),
            published=sum(one.published.accepted for one in waves),
            publish_failures=dict(sum((one.published.failures for one in waves), Counter())),
            expected=expected,
            delivered=delivered,
            lost=max(expected - delivered, gaps),
            repeats=sum(one.deliveries.repeats for one in waves),
            closed=sum(one.tally.progress.lost for one in waves),
            closes=dict(sum((one.tally.losses for one in waves), Counter())),
            back=sum(one.tally.progress.reconnected for one in waves),
            recovered=sum(one.tally.recovered for one in waves),
            reconnect_failures=dict(sum((one.tally.reconnect_failures for one in waves), Counter())),
            edges_first=ready[0] if ready else 0,
            edges_most=most,
            edges_last=ready[-1] if ready else 0,
            changes=self.changes,
            samples=self.samples,
            broken_promises=[],
        )
        figures.broken_promises = broken_promises(figures)
        return figures
