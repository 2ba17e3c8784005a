"""One trial: a running system gets connections at a steady rate and in a burst, delivers publications, and is
stopped."""

from __future__ import annotations

from deploy.processes.process_tree import ProcessTree
from perf.load import failures
from perf.report.comparison import Stop, Trial
from perf.systems import trial_delivery
from perf.systems.server_usage import ServerUsage
from perf.systems.system import Launch
from perf.systems.trial_clients import TrialClients, connects
from perf.systems.trial_size import Size

LAST_LOSSES_S = 3.0


class Bench:
    """Measures one running system with clients in `processes` processes; its servers have `cores` cores.

    `tree` is None for a system whose processes are not ours and cannot be seen.
    """

    def __init__(self, launch: Launch, tree: ProcessTree | None, size: Size, processes: int, cores: int) -> None:
        self._launch = launch
        self._size = size
        self._cores = cores
        self._usage = ServerUsage(tree)
        self._clients = TrialClients(launch, size, processes, self._usage)

    async def measure(self, trial: Trial) -> None:
        """Fills `trial` with everything but the stop. Raises `ChildDied`, `PublishFailed`, OSError."""
        size, clients, usage = self._size, self._clients, self._usage
        async with clients.fleet(size.warm_up, 100.0, "warm-{i}") as fleet:
            await clients.connect(fleet)
            await fleet.finish()
        await usage.quiet()
        await usage.measure_idle(trial, size.idle_s)
        async with clients.fleet(size.connections, size.rate, "steady-{room}") as fleet:
            counted = usage.connections(trial)
            cpu_s = await clients.connect(fleet)
            counted(fleet.progress.connected)
            trial.steady = connects(await fleet.finish(), fleet.started_at, size.rate, cpu_s)
        await usage.quiet()
        rate = size.connections / size.burst_s
        async with clients.fleet(size.connections, rate, "burst-{room}") as fleet:
            cpu_s = await clients.connect(fleet)
            await usage.quiet()
            trial.latency = await trial_delivery.latency(clients, fleet.progress.connected - fleet.progress.lost)
            trial.burst = connects(await fleet.finish(), fleet.started_at, rate, cpu_s)
        await usage.quiet()
        trial.fanout = await trial_delivery.fanout(clients, usage, self._cores)
        await usage.quiet()

    async def stop(self, trial: Trial) -> None:
        """Stops the system while clients are connected to it. A system that perf has not started is left running."""
        if not self._launch.programs:
            return
        count = self._size.subscribers
        async with self._clients.fleet(count, count / self._size.burst_s, "stop-{i}") as fleet:
            await self._clients.connect(fleet)
            held = fleet.progress.connected - fleet.progress.lost
            seconds = await self._usage.stop()
            await fleet.until(lambda: fleet.progress.lost >= fleet.progress.connected, LAST_LOSSES_S)
            tally = await fleet.finish()
        trial.stop = Stop(held, seconds, failures.close_codes(tally.losses))
