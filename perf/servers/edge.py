"""An edge process of perf's own, beside those of the running stack and on the same NATS.

Load balancers do not know it, so a run does not affect other clients. And perf is its parent, and only the parent gets
its exit code.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import psutil

from deploy.processes.ports import HOST, free_port
from deploy.processes.process import Process, Program, tail
from deploy.processes.process_tree import memory_bytes
from deploy.processes.readiness import http_status
from perf.servers import metrics, processes

TAIL_LINES = 15
READY_PATH = "/readyz"
_POLL_S = 0.05
_LOCAL_CONFIGURATION = Path("deploy/local/fairlead.toml")


class OwnEdge:
    """Made by `running_edge`. Its sessions are stored under `name`."""

    def __init__(self, process: Process, name: str, port: int) -> None:
        self._process = process
        self.name = name
        self.port = port
        self._stats = psutil.Process(process.pid)

    @property
    def started_at(self) -> float:
        """time.monotonic() just before the process was made."""
        return self._process.started_at

    async def ready(self, poll_s: float = _POLL_S) -> None:
        """Waits for 200 from /readyz. Raises `Refusal` with the end of its log if that does not come."""
        await processes.ready(self._process, lambda: http_status(self.port, path=READY_PATH) == 200, poll_s)

    def usage(self) -> tuple[int, float]:
        """RSS in bytes, and user + system CPU seconds since its start."""
        with self._stats.oneshot():
            cpu = self._stats.cpu_times()
            return self._stats.memory_info().rss, cpu.user + cpu.system

    @property
    def pid(self) -> int:
        return self._stats.pid

    def descriptors(self) -> int:
        """How many descriptors it has open."""
        return self._stats.num_fds()

    def heap_bytes(self) -> int:
        """PSS of its anonymous memory: what it has allocated itself, without the pages of programs, which it shares."""
        return memory_bytes(self._stats.pid, "Pss_Anon")

    async def metric(self, name: str) -> float:
        """One of its own series, over all of its labels; 0.0 if it has no series of that name."""
        return await asyncio.to_thread(metrics.read, self.port, name)

    async def stop(self, within_s: float) -> tuple[float, int | None, float | None]:
        """SIGTERM. Returns when it was sent (`time.monotonic`), the exit code, and the seconds until the exit.

        The latter two are None if it still runs after `within_s` seconds.
        """
        sent_at = time.monotonic()
        code, ended_at = await asyncio.to_thread(self._stop, within_s)
        return sent_at, code, None if code is None else ended_at - sent_at

    def _stop(self, within_s: float) -> tuple[int | None, float]:
        return self._process.stop(within_s), time.monotonic()

    def kill(self) -> None:
        """SIGKILL. Does not wait for the end of the process."""
        self._process.send_signal(signal.SIGKILL)

    def log_tail(self) -> str:
        return "\n".join(tail(self._process.log, TAIL_LINES))

    def times_lost(self, name: str) -> int:
        """How often it considered the edge of this name lost, according to its log."""
        return times_lost(self._process.log_text(), name)

    def tracebacks(self) -> int:
        """The number of tracebacks in its log, of which there should never be one."""
        return self._process.log_text().count("Traceback (most recent call last)")


def times_lost(log: str, name: str) -> int:
    """How often the edge with this log considered the edge of this name lost."""
    return len(re.findall(rf"another edge is lost\b.* edge={re.escape(name)} ", log))


@contextlib.asynccontextmanager
async def running_edge(
    environ: Mapping[str, str], port: int | None, checkout: Path | None = None
) -> AsyncIterator[OwnEdge]:
    """Starts an edge on `port` of 127.0.0.1, or on a free one; kills it at the end of the block if it still runs.

    `checkout` is another checkout with its own virtual environment, whose edge is started instead.
    """
    port = port or free_port()
    name = f"perf-{os.urandom(4).hex()}"
    variables = {
        "FAIRLEAD_CONFIG": environ.get("FAIRLEAD_CONFIG") or str(_LOCAL_CONFIGURATION),
        "FAIRLEAD_EDGE_HOST": HOST,
        "FAIRLEAD_EDGE_PORT": str(port),
        "FAIRLEAD_EDGE_NAME": name,
    }
    python = sys.executable if checkout is None else str(checkout / ".venv/bin/python")
    program = Program("the edge", (python, "-m", "services.edge"), variables, folder=checkout)
    with tempfile.TemporaryDirectory(prefix="fairlead-perf-") as folder:
        process = Process(program, Path(folder) / "edge.log", environ=environ, popen=processes.popen)
        process.start()
        try:
            yield OwnEdge(process, name, port)
        finally:
            await asyncio.to_thread(process.kill)
