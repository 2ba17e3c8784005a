"""One phase of a run: a backend publishes, many clients receive, and everything about it is counted and measured."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from perf.errors import RunFailed
from perf.load.delivery_counter import Deliveries
from perf.load.fleet import Fleet
from perf.load.plan import Plan
from perf.load.publisher import Published, Publishing
from perf.load.publisher_process import PublisherProcess
from perf.report import tables
from perf.report.distribution import Distribution, distribution
from perf.report.figures import Figures
from perf.report.progress_bar import Bar

LAST_DELIVERY_S = 5.0
"""How long deliveries may come after the last publication before they count as lost."""


class Server(Protocol):
    """A process, or a few, whose use of memory and CPU can be read."""

    def usage(self) -> tuple[int, float]:
        """Memory in bytes, CPU seconds since its start."""


@dataclass(frozen=True)
class Usage:
    """The usage of several servers together."""

    rss_bytes: int
    cpu_s: float


def usage(servers: Sequence[Server]) -> Usage:
    each = [server.usage() for server in servers]
    return Usage(sum(rss for rss, _ in each), sum(cpu for _, cpu in each))


@contextlib.asynccontextmanager
async def held(plan: Plan, processes: int, shown: Bar, enough: float = 1.0) -> AsyncIterator[Fleet]:
    """A fleet whose clients all listen. Raises `RunFailed` if a smaller share of them than `enough` connects."""
    async with Fleet(plan, processes, shown.show) as fleet:
        shown.phase("connecting")
        fleet.begin()
        await fleet.until(lambda: fleet.settled, plan.settle_within_s)
        connected = fleet.progress.connected
        if connected < plan.schedule.count * enough:
            causes = tables.causes((await fleet.finish()).failures)
            raise RunFailed(f"{connected} of {plan.schedule.count} clients connected; the others: {causes}")
        yield fleet


class DeliveryFigures(Figures):
    """The figures of a `Delivery`. `edge` stands for the servers that were measured."""

    published: int
    publish_failures: dict[str, int]
    expected: int
    delivered: int
    lost: int
    age_s: Distribution
    deliveries_per_s: int
    deliveries_per_edge_cpu_s: int
    edge_cpu_s: float
    generator_busy: float
    edge_rss_bytes: int
    publish_answer_s: Distribution
    publisher_lateness_s: Distribution


@dataclass(frozen=True)
class Delivery:
    """`expected` counts deliveries: the accepted publications, times their subscribers. `cost` is of all servers."""

    published: Published
    deliveries: Deliveries
    expected: int
    cost: Usage
    began_at: float
    ended_at: float
    processes: int  # the number of client processes

    @property
    def lost(self) -> int:
        return self.expected - self.deliveries.messages

    @property
    def per_cpu_s(self) -> float:
        """Deliveries for each second of the servers' CPU."""
        return self.deliveries.messages / self.cost.cpu_s if self.cost.cpu_s else 0.0

    def figures(self) -> DeliveryFigures:
        published, deliveries = self.published, self.deliveries
        wall_s = (deliveries.last_at or self.ended_at) - self.began_at
        cores_s = self.processes * max(self.ended_at - self.began_at, 1e-9)
        return DeliveryFigures(
            published=published.accepted,
            publish_failures=dict(published.failures),
            expected=self.expected,
            delivered=deliveries.messages,
            lost=self.lost,
            age_s=distribution(deliveries.ages_s),
            deliveries_per_s=round(deliveries.messages / wall_s) if wall_s > 0 else 0,
            deliveries_per_edge_cpu_s=round(self.per_cpu_s),
            edge_cpu_s=round(self.cost.cpu_s, 3),
            generator_busy=round(deliveries.cpu_s / cores_s, 3),
            edge_rss_bytes=self.cost.rss_bytes,
            publish_answer_s=distribution(published.answer_s),
            publisher_lateness_s=distribution(published.lateness_s),
        )


async def deliver(
    fleet: Fleet, publishing: Publishing, subscribers: float, servers: Sequence[Server], within_s: float
) -> Delivery:
    """Publishes, and waits until each publication has reached `subscribers` clients (on average over the channels)."""
    async with PublisherProcess(publishing) as publisher:
        await fleet.take()
        received_before, before = fleet.progress.messages, usage(servers)
        began_at = publisher.begin()
        published = await publisher.finished(within_s)
        expected = round(published.accepted * subscribers)
        await fleet.until(lambda: fleet.progress.messages - received_before >= expected, LAST_DELIVERY_S)
        ended_at = time.monotonic()
        after = usage(servers)
        deliveries = await fleet.take()
    cost = Usage(after.rss_bytes, after.cpu_s - before.cpu_s)
    return Delivery(published, deliveries, expected, cost, began_at, ended_at, fleet.processes)
