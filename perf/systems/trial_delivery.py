"""How a running system delivers: the latency of publications at a low rate, and the most that it can fan out."""

from __future__ import annotations

import time

from perf.load.pacing import Schedule
from perf.load.plan import ClientPublishing
from perf.load.publisher import Publishing
from perf.load.publisher_process import PublisherProcess
from perf.report import reliability
from perf.report.comparison import Fanout, Latency
from perf.report.distribution import distribution
from perf.systems import fan_out
from perf.systems.server_usage import ServerUsage
from perf.systems.trial_clients import TrialClients

SATURATED = 0.8
"""Servers that used less than this share of their cores could have delivered more: the clients were the limit."""

DELIVERED_WITHIN_S = 5.0


async def latency(clients: TrialClients, held: int) -> Latency:
    """The latency while `held` other connections are open. Raises `ChildDied`, OSError."""
    size, launch = clients.size, clients.launch
    schedule = Schedule(round(size.latency_rate * size.latency_s), size.latency_rate)
    publishing = ClientPublishing(schedule, size.data_bytes) if launch.publish is None else None
    expected = schedule.count * size.latency_subscribers
    lateness_s: list[float] = []
    async with clients.fleet(size.latency_subscribers, 500.0, "latency", publishing=publishing) as fleet:
        await clients.connect(fleet)
        if launch.publish is None:
            fleet.begin_publishing()
        else:
            backend = Publishing(launch.publish, (clients.channel("latency"),), schedule, size=size.data_bytes)
            async with PublisherProcess(backend) as process:
                process.begin()
                lateness_s = (await process.finished(size.latency_s + DELIVERED_WITHIN_S)).lateness_s
        await fleet.until(lambda: fleet.progress.messages >= expected, size.latency_s + DELIVERED_WITHIN_S)
        tally = await fleet.finish()
    ages = distribution(tally.deliveries.ages_s)
    lateness_p99_s = distribution(tally.publish_lateness_s if launch.publish is None else lateness_s).p99
    return Latency(
        subscribers=size.latency_subscribers,
        held=held,
        rate=size.latency_rate,
        expected=expected,
        received=tally.deliveries.messages,
        p50_s=ages.p50,
        p99_s=ages.p99,
        lateness_p99_s=lateness_p99_s,
        starved=reliability.starved(lateness_p99_s, ages.p99),
    )


async def fanout(clients: TrialClients, usage: ServerUsage, cores: int) -> Fanout:
    """The most that the servers deliver. Raises `ChildDied`, `PublishFailed`, OSError."""
    size = clients.size
    async with clients.fleet(size.subscribers, 1000.0, "fanout", sample_every=50) as fleet:
        await clients.connect(fleet)
        used, began = usage.cpu(), time.monotonic()
        published = await fan_out.saturate(
            clients.target, clients.launch, clients.channel("fanout"), size.fanout_s, size.data_bytes
        )
        expected = published * size.subscribers
        await fleet.until(lambda: fleet.progress.messages >= expected, DELIVERED_WITHIN_S)
        cpu_s = used()
        deliveries = await fleet.take()
        await fleet.finish()
    seconds = max(deliveries.last_at - began, 1e-3)
    busy = None if cpu_s is None else min(1.0, cpu_s / (seconds * cores))
    return Fanout(
        subscribers=size.subscribers,
        published=published,
        expected=expected,
        received=deliveries.messages,
        per_s=deliveries.messages / seconds,
        per_cpu_s=deliveries.messages / cpu_s if cpu_s else None,
        busy=busy,
        starved=busy is not None and busy < SATURATED,
    )
