"""One phase of a run: somebody publishes, many listen, and everything about it is counted and weighed."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from perf import client_options, summary
from perf.ears import Heard
from perf.fleet import Fleet
from perf.plan import Plan
from perf.progress_bar import Bar
from perf.publisher import Published, Publishing
from perf.publishing import PublisherProcess
from perf.reporting import Report, RunFailed

LAST_WORDS_S = 5.0
"""How long deliveries may come after the last publication before they count as lost."""


class Server(Protocol):
    """A process, or a few, that can be weighed."""

    def usage(self) -> tuple[int, float]:
        """Memory in bytes, CPU seconds since its start."""


@dataclass(frozen=True)
class Usage:
    """Of several servers together."""

    rss_bytes: int
    cpu_s: float


def usage(edges: Sequence[Server]) -> Usage:
    each = [edge.usage() for edge in edges]
    return Usage(sum(rss for rss, _ in each), sum(cpu for _, cpu in each))


@contextlib.asynccontextmanager
async def held(plan: Plan, processes: int, shown: Bar, enough: float = 1.0) -> AsyncIterator[Fleet]:
    """A fleet whose clients all listen. Raises `RunFailed` when a smaller share of them than `enough` gets there."""
    async with Fleet(plan, processes, shown.show) as fleet:
        shown.phase("connecting")
        fleet.begin()
        await fleet.until(lambda: fleet.settled, client_options.settle_within_s(plan))
        connected = fleet.progress.connected
        if connected < plan.schedule.count * enough:
            causes = summary.causes((await fleet.finish()).failures)
            raise RunFailed(f"{connected} of {plan.schedule.count} clients connected; the others: {causes}")
        yield fleet


@dataclass(frozen=True)
class Delivery:
    """`expected` counts deliveries: what was accepted, times its listeners. `edge` is what it cost all edges."""

    published: Published
    heard: Heard
    expected: int
    edge: Usage
    began_at: float
    ended_at: float
    processes: int  # of the clients

    @property
    def lost(self) -> int:
        return self.expected - self.heard.messages

    @property
    def per_cpu_s(self) -> float:
        """Deliveries of one second of the edges' CPU."""
        return self.heard.messages / self.edge.cpu_s if self.edge.cpu_s else 0.0

    def figures(self) -> Report:
        published, heard = self.published, self.heard
        wall_s = (heard.last_at or self.ended_at) - self.began_at
        return {
            "published": published.accepted,
            "publish_failures": dict(published.failures),
            "expected": self.expected,
            "delivered": heard.messages,
            "lost": self.lost,
            "age_s": summary.distribution(heard.ages_s),
            "deliveries_per_s": round(heard.messages / wall_s) if wall_s > 0 else 0,
            "deliveries_per_edge_cpu_s": round(self.per_cpu_s),
            "edge_cpu_s": round(self.edge.cpu_s, 3),
            "generator_busy": round(heard.cpu_s / self.processes / max(self.ended_at - self.began_at, 1e-9), 3),
            "edge_rss_bytes": self.edge.rss_bytes,
            "publish_answer_s": summary.distribution(published.answer_s),
            "publisher_lateness_s": summary.distribution(published.lateness_s),
        }


async def deliver(
    fleet: Fleet, publishing: Publishing, listeners: float, edges: Sequence[Server], within_s: float
) -> Delivery:
    """Publishes, and waits until each publication has reached `listeners` clients (on average over the channels)."""
    async with PublisherProcess(publishing) as publisher:
        await fleet.take()
        heard_before, before = fleet.progress.messages, usage(edges)
        began_at = publisher.begin()
        published = await publisher.finished(within_s)
        expected = round(published.accepted * listeners)
        await fleet.until(lambda: fleet.progress.messages - heard_before >= expected, LAST_WORDS_S)
        ended_at = time.monotonic()
        after = usage(edges)
        heard = await fleet.take()
    spent = Usage(after.rss_bytes, after.cpu_s - before.cpu_s)
    return Delivery(published, heard, expected, spent, began_at, ended_at, fleet.processes)


STARVED = 0.8


def care(figures: Report) -> list[tuple[str, object]]:
    """A row for the reader of a `Delivery`'s figures when they may say more of the generator than of the server."""
    busy = figures["generator_busy"]
    if not isinstance(busy, float) or busy < STARVED:
        return []
    return [("READ WITH CARE", f"the clients' processes were {busy:.0%} busy: ages are theirs; take more --processes")]
