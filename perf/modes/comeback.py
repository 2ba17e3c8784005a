"""A deploy in a busy room: all clients of a killed edge reconnect together, each after the same long absence.

Edges and NATS are perf's own. First the publications are fanned out to all clients, which shows what the bytes cost.
Then their edge is killed, as many are published again, and all clients reconnect to the other edge at once and recover.
The crowd has half of the cores, the servers and the bystanders the other half (with --share-cores all run anywhere).
Meanwhile bystanders of that edge receive a steady stream in a channel without history. Exit code 1 if anything was lost
or came twice, if the recovery cost more than --cost-bound times the fan-out, if NATS dropped the edge, if a bystander
waited or missed something, or if the edge grew by more than --memory-bound.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import time
from dataclasses import dataclass, replace

from deploy.processes.process_tree import running_on
from perf import options, runner
from perf.errors import Refusal, RunFailed
from perf.load import delivery
from perf.load.fleet import Fleet
from perf.load.pacing import Schedule
from perf.load.plan import Plan
from perf.load.publish_targets import FairleadLogOnNats, PublishTarget
from perf.load.publisher import Publishing
from perf.load.publisher_process import PublisherProcess
from perf.modes.comeback_figures import ComebackFigures, Cost, broken_promises
from perf.report import tables
from perf.report.distribution import Distribution, distribution
from perf.report.progress_bar import Bar
from perf.servers.bystanders import bystanders_of, steady_stream
from perf.servers.edge import OwnEdge
from perf.servers.edge_peak import watched
from perf.servers.stack import PARTITIONS, OwnStack, running_stack
from perf.settings import PerfSettings

LOSSES, READS = "fairlead_edge_broker_losses_total", "fairlead_edge_log_reads_total"
FLOOD_RATE = 10_000.0
"""Publications a second in total, for the fan-out: more than an edge delivers, less than JetStream can store."""
QUIET_S = 3.0
"""How long bystanders are watched before the others reconnect."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    options.add_own_clients(parser, connections=300)
    parser.add_argument("--channels", type=int, default=1, help="channels for the clients (%(default)s)")
    parser.add_argument("--behind", type=int, default=600, help="publications missed in each channel (%(default)s)")
    parser.add_argument("--size", type=int, default=1024, help="bytes of a publication's data (%(default)s)")
    parser.add_argument("--bystanders", type=int, default=20, help="clients of a live channel (%(default)s)")
    parser.add_argument("--share-cores", action="store_true", help="the servers have no cores to themselves")
    parser.add_argument("--within", type=float, default=60.0, help="seconds until all must be back (%(default)s)")
    parser.add_argument("--cost-bound", type=float, default=2.0, help="times what the fan-out takes (%(default)s)")
    parser.add_argument("--wait-bound", type=float, default=0.25, help="a bystander's p99, seconds (%(default)s)")
    parser.add_argument("--memory-bound", type=int, default=256, help="MB that the edge may grow by (%(default)s)")


async def run(arguments: argparse.Namespace, settings: PerfSettings) -> int:
    if arguments.behind < 1 or arguments.bystanders < 1 or arguments.connections % arguments.channels:
        raise Refusal("--behind and --bystanders are at least 1, and --connections is a multiple of --channels")
    figures = await runner.measured(arguments, expected_s(arguments), measure, arguments.connections)
    return int(figures is None or bool(figures.broken_promises))


def expected_s(arguments: argparse.Namespace) -> float:
    publications = arguments.behind * arguments.channels
    return options.expected_s(arguments, 2 * arguments.within + publications / 500 + 60)


async def measure(arguments: argparse.Namespace, shown: Bar) -> ComebackFigures:
    servers, crowd = _cores(arguments.share_cores)
    with running_on(servers):
        async with (
            running_stack() as stack,
            stack.edge(client_ping_interval=0) as refuge,  # no pings: the crowd would answer them as slowly as it reads
            stack.edge(client_ping_interval=0) as victim,
        ):
            return await _Comeback(arguments, stack, refuge, victim, shown, crowd).measure()


def _cores(shared: bool) -> tuple[set[int], set[int]]:
    """The cores of the servers, the bystanders and this process, and the cores of the crowd."""
    cores = sorted(os.sched_getaffinity(0))
    if shared:
        return set(cores), set(cores)
    if len(cores) < 2:
        raise Refusal("there is one core only: use --share-cores")
    return set(cores[: len(cores) // 2]), set(cores[len(cores) // 2 :])


@dataclass
class _Comeback:
    arguments: argparse.Namespace
    stack: OwnStack
    refuge: OwnEdge
    victim: OwnEdge
    shown: Bar
    crowd: set[int]  # the cores of the clients that reconnect

    async def measure(self) -> ComebackFigures:
        arguments = self.arguments
        plan = options.own_plan(arguments, self.stack, [self.victim], "log:back-{room}", arguments.channels)
        plan = replace(plan, ordered=True, sample_every=20, reconnect_port=self.refuge.port, reconnect_when_told=True)
        watching = bystanders_of(plan, self.refuge, arguments.bystanders)
        stream = steady_stream(self.stack, expected_s(arguments))
        async with (
            delivery.held(watching, 1, self.shown) as bystanders,
            PublisherProcess(stream) as publisher,
            contextlib.AsyncExitStack() as fleets,
        ):
            with running_on(self.crowd):
                crowd = await fleets.enter_async_context(delivery.held(plan, arguments.processes, self.shown))
            publisher.begin()
            fan_out = await self._fan_out(crowd, plan)
            beside_fan_out = await bystanders.take()
            await self._miss(crowd, plan)
            await bystanders.take()
            await crowd.until(lambda: False, QUIET_S)
            quiet = await bystanders.take()
            ages = distribution(quiet.ages_s), distribution(beside_fan_out.ages_s)
            return await self._come_back(crowd, bystanders, fan_out, *ages)

    @property
    def _expected(self) -> int:
        return int(self.arguments.behind * self.arguments.connections)

    def _publishing(self, target: PublishTarget, plan: Plan, rate: float, first: int) -> Publishing:
        count = self.arguments.behind * self.arguments.channels
        schedule = Schedule(count, rate)
        size = self.arguments.size
        return Publishing(target, plan.dialect.channels(), schedule, connections=16, size=size, first=first)

    async def _fan_out(self, fleet: Fleet, plan: Plan) -> Cost:
        """The cost of delivering as much to all of them while they listen."""
        self.shown.phase("fanning out")
        target = FairleadLogOnNats(self.stack.nats_port, history_class="log", partitions=PARTITIONS)
        async with PublisherProcess(self._publishing(target, plan, FLOOD_RATE, first=0)) as publisher:
            await fleet.take()
            before = self.victim.usage()
            began_at = publisher.begin()
            await publisher.finished(self.arguments.within)
            await fleet.until(lambda: fleet.progress.messages >= self._expected, self.arguments.within)
            taken, after = await fleet.take(), self.victim.usage()
        if taken.messages < self._expected:
            causes = tables.causes((await fleet.finish()).losses)
            raise RunFailed(f"{taken.messages} of {self._expected} were fanned out; connections lost: {causes}")
        return Cost.of(began_at, taken.last_at, after[1] - before[1])

    async def _miss(self, fleet: Fleet, plan: Plan) -> None:
        """Kills their edge, and publishes what they miss."""
        self.shown.phase("killed")
        self.victim.kill()
        connections = self.arguments.connections
        if not await fleet.until(lambda: fleet.progress.lost >= connections, self.arguments.within):
            raise RunFailed(f"{fleet.progress.lost} of {connections} clients saw the cut")
        api = self.stack.api(self.refuge)
        async with PublisherProcess(self._publishing(api, plan, FLOOD_RATE, first=self.arguments.behind)) as publisher:
            publisher.begin()
            published = await publisher.finished(self.arguments.behind * self.arguments.channels / 100 + 30)
        if published.failures:
            raise RunFailed(f"not everything was published: {dict(published.failures)}")

    async def _come_back(
        self, fleet: Fleet, bystanders: Fleet, fan_out: Cost, quiet: Distribution, beside_fan_out: Distribution
    ) -> ComebackFigures:
        arguments, refuge = self.arguments, self.refuge
        losses, reads = await refuge.metric(LOSSES), await refuge.metric(READS)
        rss_before, cpu_before = refuge.usage()
        missed_before = (await fleet.take()).gaps
        self.shown.phase("coming back")
        async with watched(refuge) as peak:
            began_at = time.monotonic()
            fleet.come_back()
            await fleet.until(lambda: fleet.progress.messages >= 2 * self._expected, arguments.within)
            back, cpu_after = await fleet.take(), refuge.usage()[1]
        seen = await bystanders.take()
        rss_after = refuge.usage()[0]
        self.shown.phase("leaving")
        tally = await fleet.finish()
        await bystanders.finish()
        figures = ComebackFigures(
            connections=arguments.connections,
            channels=arguments.channels,
            behind=arguments.behind,
            size=arguments.size,
            fan_out=fan_out,
            comeback=Cost.of(began_at, back.last_at, cpu_after - cpu_before),
            back=tally.progress.reconnected,
            back_s=distribution([at - began_at for at in tally.reconnected_at]),
            comeback_failures=dict(tally.reconnect_failures),
            recovered=tally.recovered,
            expected=self._expected,
            delivered=back.messages,
            gaps=missed_before + back.gaps,
            repeats=back.repeats,
            bystander_age_s=distribution(seen.ages_s),
            bystander_age_quiet_s=quiet,
            bystander_age_fan_out_s=beside_fan_out,
            bystander_missed=seen.gaps,
            nats_dropped_the_edge=round(await refuge.metric(LOSSES) - losses),
            log_reads=round(await refuge.metric(READS) - reads),
            edge_rss_bytes_before=rss_before,
            edge_rss_bytes_peak=peak.rss_bytes,
            edge_rss_bytes_after=rss_after,
            broken_promises=[],
        )
        bounds = arguments.cost_bound, arguments.wait_bound, arguments.memory_bound * 1_000_000
        figures.broken_promises = broken_promises(figures, *bounds)
        return figures
