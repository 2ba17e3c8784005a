"""What clients can do to others on purpose: they recover a long history of large publications, and read none of it.

Edge and NATS are perf's own. Innocent clients receive a steady stream in a channel without history, first undisturbed
and then while the attack goes on. Exit code 1 if one of them missed or waited for something, if NATS dropped the edge,
or if the edge grew by more than --memory-bound.
"""

from __future__ import annotations

import argparse
import contextlib
import socket
from collections.abc import Iterator

import msgspec

from perf import options, runner
from perf.errors import Refusal, RunFailed
from perf.load import delivery, frames
from perf.load.dialects.centrifuge import PATH, connection_token
from perf.load.fleet import Fleet
from perf.load.json_client import connected
from perf.load.pacing import Schedule
from perf.load.publisher import Publishing
from perf.load.publisher_process import PublisherProcess
from perf.load.target import authority
from perf.report import tables
from perf.report.distribution import Distribution, distribution
from perf.report.figures import Figures
from perf.report.progress_bar import Bar
from perf.servers.bystanders import bystanders_of, steady_stream
from perf.servers.edge import OwnEdge
from perf.servers.edge_peak import watched
from perf.servers.stack import OwnStack, running_stack
from perf.settings import PerfSettings

LOSSES, READS = "fairlead_edge_broker_losses_total", "fairlead_edge_log_reads_total"
CHANNEL = "log:unread"
FAR_FUTURE = 4_000_000_000
RECEIVE_BUFFER = 4096
FILL_RATE = 2000.0


class UnreadFigures(Figures):
    """`log_reads` is 0 for an edge that does not count them."""

    attackers: int
    history: int
    size: int
    seconds: float
    innocent: int
    age_before_s: Distribution
    age_s: Distribution
    missed_before: int
    missed: int
    received: int
    nats_dropped_the_edge: int
    log_reads: int
    edge_cpu_s: float
    edge_rss_bytes_before: int
    edge_rss_bytes_peak: int
    broken_promises: list[str]

    @property
    def grown_bytes(self) -> int:
        return self.edge_rss_bytes_peak - self.edge_rss_bytes_before

    def table(self) -> str:
        share = self.missed / max(1, self.missed + self.received)
        before, peak = self.edge_rss_bytes_before / 1e6, self.edge_rss_bytes_peak / 1e6
        return tables.text(
            [
                ("attack", f"{self.attackers} recover {self.history} x {self.size} bytes and do not read"),
                ("innocent before", f"{self.age_before_s.in_ms()} ms, {self.missed_before} missed"),
                ("innocent meanwhile", f"{self.age_s.in_ms()} ms, {self.missed} missed ({share:.1%})"),
                ("NATS dropped the edge", f"{self.nats_dropped_the_edge} times"),
                ("reads of the log", self.log_reads),
                ("edge CPU", f"{self.edge_cpu_s} s in {self.seconds:g} s"),
                ("edge memory", f"{before:.0f} MB, {peak:.0f} MB at most"),
                ("verdict", tables.verdict(self.broken_promises)),
            ]
        )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    options.add_own_clients(parser, connections=20)
    parser.add_argument("--attackers", type=int, default=4, help="how many (%(default)s)")
    parser.add_argument("--history", type=int, default=1000, help="publications in the history (%(default)s)")
    parser.add_argument("--size", type=int, default=60_000, help="bytes of each (%(default)s)")
    parser.add_argument("--seconds", type=float, default=10.0, help="how long the attack is watched (%(default)s)")
    parser.add_argument("--wait-bound", type=float, default=0.25, help="an innocent's p99, seconds (%(default)s)")
    parser.add_argument("--memory-bound", type=int, default=128, help="MB that the edge may grow by (%(default)s)")


async def run(arguments: argparse.Namespace, settings: PerfSettings) -> int:
    if arguments.attackers < 1 or arguments.history < 1 or arguments.seconds <= 0:
        raise Refusal("--attackers and --history are at least 1, --seconds is above 0")
    figures = await runner.measured(arguments, expected_s(arguments), measure, arguments.connections)
    return int(figures is None or bool(figures.broken_promises))


def expected_s(arguments: argparse.Namespace) -> float:
    return options.expected_s(arguments, 2 * arguments.seconds + arguments.history / 100 + 60)


async def measure(arguments: argparse.Namespace, shown: Bar) -> UnreadFigures:
    async with running_stack() as stack, stack.edge() as edge:
        return await _measure(arguments, stack, edge, shown)


async def _measure(arguments: argparse.Namespace, stack: OwnStack, edge: OwnEdge, shown: Bar) -> UnreadFigures:
    shown.phase("filling")
    epoch = await _fill(arguments, stack, edge)
    plan = bystanders_of(options.own_plan(arguments, stack, [edge], CHANNEL), edge, arguments.connections)
    stream = steady_stream(stack, expected_s(arguments))
    async with delivery.held(plan, 1, shown) as innocent, PublisherProcess(stream) as publisher:
        publisher.begin()
        shown.phase("undisturbed")
        await _pass(innocent, arguments.seconds)
        before = await innocent.take()
        losses, reads = await edge.metric(LOSSES), await edge.metric(READS)
        rss_before, cpu_before = edge.usage()
        shown.phase("attacked")
        async with watched(edge) as peak:
            with _attackers(arguments, stack, edge, epoch):
                await _pass(innocent, arguments.seconds)
                cpu_s = edge.usage()[1] - cpu_before
        seen = await innocent.take()
        await innocent.finish()
    figures = UnreadFigures(
        attackers=arguments.attackers,
        history=arguments.history,
        size=arguments.size,
        seconds=arguments.seconds,
        innocent=arguments.connections,
        age_before_s=distribution(before.ages_s),
        age_s=distribution(seen.ages_s),
        missed_before=before.gaps,
        missed=seen.gaps,
        received=seen.messages,
        nats_dropped_the_edge=round(await edge.metric(LOSSES) - losses),
        log_reads=round(await edge.metric(READS) - reads),
        edge_cpu_s=round(cpu_s, 3),
        edge_rss_bytes_before=rss_before,
        edge_rss_bytes_peak=peak.rss_bytes,
        broken_promises=[],
    )
    figures.broken_promises = broken_promises(figures, arguments.wait_bound, arguments.memory_bound * 1_000_000)
    return figures


async def _pass(fleet: Fleet, seconds: float) -> None:
    await fleet.until(lambda: False, seconds)


async def _fill(arguments: argparse.Namespace, stack: OwnStack, edge: OwnEdge) -> str:
    """Publishes the history; returns its epoch."""
    schedule = Schedule(arguments.history, FILL_RATE)
    publishing = Publishing(stack.api(edge), (CHANNEL,), schedule, size=arguments.size)
    async with PublisherProcess(publishing) as publisher:
        publisher.begin()
        published = await publisher.finished(arguments.history / 100 + 30)
    if published.failures:
        raise RunFailed(f"the history was not published: {dict(published.failures)}")
    url = f"ws://{authority('127.0.0.1', edge.port)}{PATH}"
    async with connected(url, connection_token("reader", stack.token_secret, FAR_FUTURE)) as reader:
        reply = await reader.command(subscribe={"channel": CHANNEL})
    epoch: str = reply["subscribe"]["epoch"]
    return epoch


@contextlib.contextmanager
def _attackers(arguments: argparse.Namespace, stack: OwnStack, edge: OwnEdge, epoch: str) -> Iterator[None]:
    """Sockets that ask for everything and are never read. Their buffers are small, so the edge has to keep the rest."""
    with contextlib.ExitStack() as sockets:
        for number in range(arguments.attackers):
            attacker = sockets.enter_context(socket.socket())
            attacker.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
            attacker.connect(("127.0.0.1", edge.port))
            token = connection_token(f"attacker-{number}", stack.token_secret, FAR_FUTURE)
            commands: tuple[object, ...] = (
                {"id": 1, "connect": {"token": token}},
                {"id": 2, "subscribe": {"channel": CHANNEL, "recover": True, "epoch": epoch, "offset": 0}},
            )
            hello = frames.frame(frames.TEXT, b"\n".join(msgspec.json.encode(each) for each in commands))
            attacker.sendall(frames.upgrade_request(authority("127.0.0.1", edge.port), PATH))
            attacker.recv(RECEIVE_BUFFER)  # the answer to the upgrade, and nothing more
            attacker.sendall(hello)
        yield


def broken_promises(figures: UnreadFigures, wait_bound_s: float, memory_bound_bytes: int) -> list[str]:
    """The broken promises, in words; empty if all were kept."""
    broken = []
    if figures.missed or figures.missed_before:
        broken.append(f"innocent clients missed {figures.missed} publications ({figures.missed_before} before)")
    waited_s = figures.age_s.p99
    if waited_s is None or waited_s > wait_bound_s:
        broken.append(f"an innocent client waited {'for ever' if waited_s is None else f'{waited_s:.2f} s (p99)'}")
    if figures.nats_dropped_the_edge:
        broken.append(f"NATS dropped the edge {figures.nats_dropped_the_edge} times")
    if figures.grown_bytes > memory_bound_bytes:
        broken.append(f"the edge grew by {figures.grown_bytes / 1e6:.0f} MB")
    return broken
