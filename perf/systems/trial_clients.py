"""The clients of one trial: a fleet for each measurement, on channels of its own."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from perf.load.fleet import Fleet
from perf.load.pacing import Schedule
from perf.load.plan import ClientPublishing, Plan
from perf.load.tally import Tally
from perf.load.target import Target
from perf.report import reliability
from perf.report.comparison import Connects
from perf.report.distribution import distribution
from perf.systems.server_usage import ServerUsage
from perf.systems.system import Launch
from perf.systems.trial_size import Size

CONNECT_TIMEOUT_S = 30.0
"""For a system that takes longer than a browser waits, the time is still measured instead of a failure."""

TAIL_S = 0.5
"""The time after the last connect in which the servers' remaining work (session events, garbage collection) is
counted."""


class TrialClients:
    """Fleets of `processes` client processes for one launch of a system."""

    def __init__(self, launch: Launch, size: Size, processes: int, usage: ServerUsage) -> None:
        self.launch = launch
        self.size = size
        self._processes = processes
        self._usage = usage

    @property
    def target(self) -> Target:
        return Target(self.launch.host, self.launch.port, "")

    def channel(self, word: str) -> str:
        return self.launch.channel.replace("{name}", word)

    def fleet(
        self, count: int, rate: float, word: str, sample_every: int = 1, publishing: ClientPublishing | None = None
    ) -> Fleet:
        plan = Plan(
            host=self.launch.host,
            port=self.launch.port,
            dialect=replace(self.launch.dialect, channel=self.channel(word), rooms=self.size.rooms),
            schedule=Schedule(count, rate),
            connect_timeout_s=CONNECT_TIMEOUT_S,
            sample_every=sample_every,
            client_publishing=publishing,
        )
        return Fleet(plan, self._processes)

    async def connect(self, fleet: Fleet) -> float | None:
        """Opens all clients; returns the servers' CPU seconds for that."""
        used = self._usage.cpu()
        fleet.begin()
        await fleet.until(lambda: fleet.settled, self.size.connections / self.size.rate + CONNECT_TIMEOUT_S + 5.0)
        await asyncio.sleep(TAIL_S)
        return used()


def connects(tally: Tally, started_at: float, rate: float, cpu_s: float | None) -> Connects:
    """The figures of a fleet that has connected."""
    progress, connect = tally.progress, distribution(tally.connect_s)
    lateness_p99_s = distribution(tally.lateness_s).p99
    seconds = tally.last_established_at - started_at
    return Connects(
        asked_per_s=rate,
        attempted=progress.attempted,
        connected=progress.connected,
        p50_s=connect.p50,
        p99_s=connect.p99,
        per_s=progress.connected / seconds if seconds > 0 else 0.0,
        cpu_ms=None if cpu_s is None or not progress.connected else cpu_s * 1000 / progress.connected,
        lateness_p99_s=lateness_p99_s,
        starved=reliability.starved(lateness_p99_s, connect.p99),
        failures=dict(tally.failures),
    )
