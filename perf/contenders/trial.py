"""One trial: a contender is started, connected to at a steady rate and in a burst, published through, and stopped."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from perf import client_options, failures, summary
from perf.contenders import fan_out
from perf.contenders.contender import Launch
from perf.contenders.figures import Connects, Fanout, Latency, Stop, Trial
from perf.contenders.process_tree import ProcessTree
from perf.fleet import Fleet
from perf.pacing import Schedule
from perf.plan import Plan, Talk
from perf.publisher import Publishing
from perf.publishing import PublisherProcess
from perf.tally import Tally
from perf.target import Target

CONNECT_TIMEOUT_S = 30.0
"""A system that needs longer than a browser waits is still measured by how long, not by a failure."""

QUIET_SHARE = 0.1
QUIET_SAMPLE_S = 0.4
QUIET_WITHIN_S = 10.0
"""Between two measurements a contender may finish what it does: until it uses less than this share of a core."""

TAIL_S = 0.5
"""After the last connect: what the servers still do for it (session events, a garbage collection) is counted."""

SATURATED = 0.8
"""Servers that used less than this share of their cores could have delivered more: the clients were the limit."""

LAST_WORDS_S = 3.0
DELIVERED_WITHIN_S = 5.0


@dataclass(frozen=True)
class Size:
    """How much one trial does. `burst_s` is the time in which all connections of the burst are due.

    `warm_up` connections come before anything is measured: a service that has run for a minute has long loaded and
    compiled its code, and every one of several workers has started. Then `idle_s` without clients is the baseline.
    """

    connections: int = 5000
    rooms: int = 500  # that connections are spread over
    rate: float = 500.0
    burst_s: float = 1.0
    subscribers: int = 1000
    fanout_s: float = 3.0
    latency_subscribers: int = 100
    latency_rate: float = 20.0
    latency_s: float = 4.0
    data_bytes: int = 128
    warm_up: int = 100
    idle_s: float = 1.0

    def changed(self, connections: int | None, rate: float | None) -> Size:
        """With what the options say; each room keeps its ten members."""
        count = connections or self.connections
        return replace(self, connections=count, rooms=max(1, count // 10), rate=rate or self.rate)


QUICK = Size(40, 4, 200.0, 0.1, 20, 0.3, 10, 20.0, 0.5, warm_up=20, idle_s=0.3)


class Bench:
    """Measures one running contender with clients in `processes` processes. `tree` is None for one that is not ours."""

    def __init__(self, launch: Launch, tree: ProcessTree | None, size: Size, processes: int, cores: int) -> None:
        self._launch = launch
        self._tree = tree
        self._size = size
        self._processes = processes
        self._cores = cores
        self._idle_share = 0.0  # CPU seconds a second, without clients

    async def measure(self, trial: Trial) -> None:
        """All that is measured while it runs, into `trial`. Raises `ChildDied`, `PublishFailed`, OSError."""
        size = self._size
        async with self._clients(self._size.warm_up, 100.0, "warm-{i}") as fleet:
            await self._connect(fleet)
            await fleet.finish()
        await self._quiet()
        await self._rest(trial)
        async with self._clients(size.connections, size.rate, "steady-{room}") as fleet:
            before = self._tree.cpu_s_by_program() if self._tree else {}
            cpu_s = await self._connect(fleet)
            if self._tree is not None and trial.idle_pss_bytes is not None:
                connected, after = max(1, fleet.progress.connected), self._tree.cpu_s_by_program()
                trial.connection_pss_bytes = (self._tree.pss_bytes() - trial.idle_pss_bytes) / connected
                trial.connection_cpu_ms = {n: round((after[n] - before[n]) * 1000 / connected, 3) for n in after}
            trial.steady = _connects(await fleet.finish(), fleet.started_at, size.rate, cpu_s)
        await self._quiet()
        rate = size.connections / size.burst_s
        async with self._clients(size.connections, rate, "burst-{room}") as fleet:
            cpu_s = await self._connect(fleet)
            await self._quiet()
            trial.latency = await self._latency(fleet.progress.connected - fleet.progress.lost)
            trial.burst = _connects(await fleet.finish(), fleet.started_at, rate, cpu_s)
        await self._quiet()
        trial.fanout = await self._fan_out()
        await self._quiet()

    async def stop(self, trial: Trial) -> None:
        """Stops the contender while clients listen to it."""
        if self._tree is None or not self._launch.programs:
            return
        count = self._size.subscribers
        async with self._clients(count, count / self._size.burst_s, "stop-{i}") as fleet:
            await self._connect(fleet)
            held = fleet.progress.connected - fleet.progress.lost
            seconds = await asyncio.to_thread(self._tree.stop)
            await fleet.until(lambda: fleet.progress.lost >= fleet.progress.connected, LAST_WORDS_S)
            tally = await fleet.finish()
        trial.stop = Stop(held, seconds, failures.close_codes(tally.losses))

    # --- measurements ---------------------------------------------------------------------------------------------

    async def _rest(self, trial: Trial) -> None:
        if self._tree is None:
            return
        before, began = self._tree.cpu_s(), time.monotonic()
        await asyncio.sleep(self._size.idle_s)
        self._idle_share = (self._tree.cpu_s() - before) / (time.monotonic() - began)
        trial.idle_cpu_share, trial.idle_pss_bytes = round(self._idle_share, 4), self._tree.pss_bytes()

    async def _connect(self, fleet: Fleet) -> float | None:
        """Opens all clients. CPU seconds of the servers for that."""
        used = self._cpu()
        fleet.begin()
        await fleet.until(lambda: fleet.settled, self._size.connections / self._size.rate + CONNECT_TIMEOUT_S + 5.0)
        await asyncio.sleep(TAIL_S)
        return used()

    async def _latency(self, held: int) -> Latency:
        size, launch = self._size, self._launch
        schedule = Schedule(round(size.latency_rate * size.latency_s), size.latency_rate)
        talk = Talk(schedule, size.data_bytes) if launch.publish is None else None
        expected = schedule.count * size.latency_subscribers
        async with self._clients(size.latency_subscribers, 500.0, "latency", talk=talk) as fleet:
            await self._connect(fleet)
            if launch.publish is None:
                fleet.talk()
            else:
                way = Publishing(launch.publish, (self._channel("latency"),), schedule, size=size.data_bytes)
                async with PublisherProcess(way) as process:
                    process.begin()
                    lateness = (await process.finished(size.latency_s + DELIVERED_WITHIN_S)).lateness_s
            await fleet.until(lambda: fleet.progress.messages >= expected, size.latency_s + DELIVERED_WITHIN_S)
            tally = await fleet.finish()
        if launch.publish is None:
            lateness = tally.speech_lateness_s
        ages, late = summary.distribution(tally.heard.ages_s), summary.distribution(lateness)["p99"]
        return Latency(
            subscribers=size.latency_subscribers,
            held=held,
            rate=size.latency_rate,
            expected=expected,
            received=tally.heard.messages,
            p50_s=ages["p50"],
            p99_s=ages["p99"],
            lateness_p99_s=late,
            starved=client_options.starved(late, ages["p99"]),
        )

    async def _fan_out(self) -> Fanout:
        size = self._size
        async with self._clients(size.subscribers, 1000.0, "fanout", sample_every=50) as fleet:
            await self._connect(fleet)
            used, began = self._cpu(), time.monotonic()
            published = await fan_out.saturate(
                Target(self._launch.host, self._launch.port, ""),
                self._launch,
                self._channel("fanout"),
                size.fanout_s,
                size.data_bytes,
            )
            expected = published * size.subscribers
            await fleet.until(lambda: fleet.progress.messages >= expected, DELIVERED_WITHIN_S)
            cpu_s = used()
            heard = await fleet.take()
            await fleet.finish()
        seconds = max(heard.last_at - began, 1e-3)
        busy = None if cpu_s is None else min(1.0, cpu_s / (seconds * self._cores))
        return Fanout(
            subscribers=size.subscribers,
            published=published,
            expected=expected,
            received=heard.messages,
            per_s=heard.messages / seconds,
            per_cpu_s=heard.messages / cpu_s if cpu_s else None,
            busy=busy,
            starved=busy is not None and busy < SATURATED,
        )

    # --- inside ---------------------------------------------------------------------------------------------------

    def _clients(self, count: int, rate: float, word: str, sample_every: int = 1, talk: Talk | None = None) -> Fleet:
        plan = Plan(
            host=self._launch.host,
            port=self._launch.port,
            dialect=replace(self._launch.dialect, channel=self._channel(word), rooms=self._size.rooms),
            schedule=Schedule(count, rate),
            connect_timeout_s=CONNECT_TIMEOUT_S,
            sample_every=sample_every,
            talk=talk,
        )
        return Fleet(plan, self._processes)

    def _channel(self, word: str) -> str:
        return self._launch.channel.replace("{name}", word)

    def _cpu(self) -> Callable[[], float | None]:
        """Call it, do something, call what it gave: the CPU seconds that the servers took for that."""
        tree = self._tree
        if tree is None:
            return lambda: None
        before, began = tree.cpu_s(), time.monotonic()
        return lambda: max(0.0, tree.cpu_s() - before - self._idle_share * (time.monotonic() - began))

    async def _quiet(self) -> None:
        """Waits until the servers have nothing left to do, with a bound."""
        until = time.monotonic() + QUIET_WITHIN_S
        while self._tree is not None and time.monotonic() < until:
            before = self._tree.cpu_s()
            await asyncio.sleep(QUIET_SAMPLE_S)
            if self._tree.cpu_s() - before <= (QUIET_SHARE + self._idle_share) * QUIET_SAMPLE_S:
                return


def _connects(tally: Tally, started_at: float, rate: float, cpu_s: float | None) -> Connects:
    progress, connect = tally.progress, summary.distribution(tally.connect_s)
    lateness = summary.distribution(tally.lateness_s)["p99"]
    seconds = tally.last_established_at - started_at
    return Connects(
        asked_per_s=rate,
        attempted=progress.attempted,
        connected=progress.connected,
        p50_s=connect["p50"],
        p99_s=connect["p99"],
        per_s=progress.connected / seconds if seconds > 0 else 0.0,
        cpu_ms=None if cpu_s is None or not progress.connected else cpu_s * 1000 / progress.connected,
        lateness_p99_s=lateness,
        starved=client_options.starved(lateness, connect["p99"]),
        failures=dict(tally.failures),
    )
