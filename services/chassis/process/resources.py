"""What this process uses: CPU, memory, descriptors. Its heartbeat asks every second, and Prometheus asks.

Both do so on the event loop, so the answer must not cost more where there are more connections.
"""

from __future__ import annotations

import contextlib
import os
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import psutil
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

_DESCRIPTORS: Final = Path("/proc/self/fd")


def raise_descriptor_limit() -> None:
    """Takes as many descriptors as the system allows this process: the usual soft limit of 1,024 is as many clients.

    That limit is there for programs that use `select`, which an event loop on epoll does not.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(ValueError, OSError):  # macOS has a hard limit that it then does not allow
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


class Usage(NamedTuple):
    """At one moment. CPU is user and system time since the start."""

    cpu_s: float
    rss_bytes: int
    virtual_bytes: int
    open_fds: int
    max_fds: int


class OwnProcess:
    """See the module. `started_at` is Unix time in seconds."""

    def __init__(self) -> None:
        self._process = psutil.Process()
        self.started_at = self._process.create_time()

    def usage(self) -> Usage:
        with self._process.oneshot():
            cpu, memory = self._process.cpu_times(), self._process.memory_info()
        return Usage(
            cpu_s=cpu.user + cpu.system,
            rss_bytes=memory.rss,
            virtual_bytes=memory.vms,
            open_fds=self._open_fds(),
            max_fds=resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        )

    def _open_fds(self) -> int:
        """Linux 6.2 and later say it in the size of the folder (40 µs). Listing 15,000 of them stops the loop 42 ms."""
        try:
            count = os.stat(_DESCRIPTORS).st_size
        except OSError:  # another system than Linux
            count = 0
        return count or self._process.num_fds()


class ProcessCollector(Collector):
    """The metrics that prometheus-client's class of this name has, which lists the descriptors at each scrape."""

    def __init__(self, process: OwnProcess) -> None:
        self._process = process

    def collect(self) -> Iterator[Metric]:
        usage = self._process.usage()
        gauges = {
            "virtual_memory_bytes": ("Virtual memory size in bytes.", usage.virtual_bytes),
            "resident_memory_bytes": ("Resident memory size in bytes.", usage.rss_bytes),
            "start_time_seconds": (
                "Start time of the process since unix epoch in seconds.",
                self._process.started_at,
            ),
            "open_fds": ("Number of open file descriptors.", usage.open_fds),
            "max_fds": ("Maximum number of open file descriptors.", usage.max_fds),
        }
        for name, (meaning, value) in gauges.items():
            yield GaugeMetricFamily(f"process_{name}", meaning, value=value)
        yield CounterMetricFamily(
            "process_cpu_seconds_total", "Total user and system CPU time spent in seconds.", value=usage.cpu_s
        )
