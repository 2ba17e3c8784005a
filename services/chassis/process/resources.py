"""What this process uses: CPU, memory, descriptors. Its heartbeat reads it every second, and Prometheus at each scrape.

Both run on the event loop, so the cost must not grow with the number of connections.
"""

from __future__ import annotations

import contextlib
import os
import resource
import sys
from pathlib import Path
from typing import Final, NamedTuple

import psutil

_DESCRIPTORS: Final = Path("/proc/self/fd")


def raise_descriptor_limit() -> None:
    """Raises the soft limit of descriptors to the hard limit: the usual 1,024 would allow no more clients than that.

    The soft limit protects programs that use `select`; an event loop on epoll does not.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(ValueError, OSError):  # macOS reports a hard limit that it does not accept
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def descriptor_limit() -> int:
    """How many descriptors this process may open once the soft limit is raised."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if resource.RLIM_INFINITY in (soft, hard) else max(soft, hard)


class Usage(NamedTuple):
    """The figures at one moment. `cpu_s` is user and system time since the start of the process."""

    cpu_s: float
    rss_bytes: int
    virtual_bytes: int
    open_fds: int
    max_fds: int


class OwnProcess:
    """This process. `started_at` is Unix time in seconds."""

    def __init__(self) -> None:
        self._process = psutil.Process()
        self.started_at = self._process.create_time()
        self._last = self._measure()

    def usage(self) -> Usage:
        """The figures now, or the previous ones while the process has no descriptor left to read them with."""
        try:
            self._last = self._measure()
        except OSError:
            self._last = self._last._replace(open_fds=self._last.max_fds)
        return self._last

    def _measure(self) -> Usage:
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
        """From Linux 6.2 on the size of the folder is the number of descriptors (40 µs). Listing 15,000 would block the
        loop for 42 ms."""
        try:
            count = os.stat(_DESCRIPTORS).st_size
        except OSError:  # not Linux
            count = 0
        return count or self._process.num_fds()
