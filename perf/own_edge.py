"""An edge process that perf starts for itself, beside those of the running stack and on the same NATS.

Load balancers do not know it, so a run stops nobody else's clients; and as its parent perf gets its exit code, which no
other process would.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import socket
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

import psutil

from perf.refusal import Refusal

READY_WITHIN_S = 20.0
_POLL_S = 0.05
_LOG_TAIL_LINES = 15
_LOCAL_CONFIGURATION = Path("deploy/local/fairlead.toml")


class OwnEdge:
    """Made by `running`. `name` is what its sessions are filed under."""

    def __init__(self, process: asyncio.subprocess.Process, name: str, port: int, log: Path, started_at: float) -> None:
        self._process = process
        self.name = name
        self.port = port
        self.started_at = started_at  # time.monotonic() before the process was made
        self._log = log
        self._stats = psutil.Process(process.pid)

    async def ready(self, poll_s: float = _POLL_S) -> None:
        """Waits for 200 from /readyz. Raises `Refusal` with the end of its log when that does not come."""
        if await answers_in_time(self.port, poll_s, lambda: self._process.returncode is None):
            return
        raise Refusal(
            f"the edge was not ready within {READY_WITHIN_S:.0f} s; is the stack running (make up)? "
            f"Its log ends:\n{self.log_tail()}"
        )

    def usage(self) -> tuple[int, float]:
        """RSS in bytes, and user + system CPU seconds since its start."""
        with self._stats.oneshot():
            cpu = self._stats.cpu_times()
            return self._stats.memory_info().rss, cpu.user + cpu.system

    def heap_bytes(self) -> int:
        """PSS of its anonymous memory: what it made for itself. Pages of programs, which it shares, are not in it."""
        for line in Path(f"/proc/{self._stats.pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss_Anon:"):
                return int(line.split()[1]) * 1024
        return 0

    async def metric(self, name: str) -> float:
        """One of its own series without labels, 0.0 where it has none of that name."""
        text = await asyncio.to_thread(_read, f"http://127.0.0.1:{self.port}/metrics")
        return next((float(line.split()[1]) for line in text.splitlines() if line.startswith(f"{name} ")), 0.0)

    async def stop(self, within_s: float) -> tuple[float, int | None, float | None]:
        """SIGTERM. When it was sent (`time.monotonic`), the exit code, and the seconds until the exit.

        None for both of the latter when it still runs after `within_s` seconds.
        """
        sent_at = time.monotonic()
        self._process.send_signal(signal.SIGTERM)
        try:
            code = await asyncio.wait_for(self._process.wait(), within_s)
        except TimeoutError:
            return sent_at, None, None
        return sent_at, code, time.monotonic() - sent_at

    def kill(self) -> None:
        """SIGKILL."""
        self._process.kill()

    def log_tail(self) -> str:
        return tail_of(self._log)

    def tracebacks(self) -> int:
        """How many there are in its log; there should be none, ever."""
        return self._log.read_text(errors="replace").count("Traceback (most recent call last)")


@contextlib.asynccontextmanager
async def running(environ: Mapping[str, str], port: int | None) -> AsyncIterator[OwnEdge]:
    """Starts an edge on `port` of 127.0.0.1, or on a free one; ends it for good when the block is left."""
    port = port or free_port()
    name = f"perf-{os.urandom(4).hex()}"
    environ = {
        **environ,
        "FAIRLEAD_CONFIG": environ.get("FAIRLEAD_CONFIG") or str(_LOCAL_CONFIGURATION),
        "FAIRLEAD_EDGE_HOST": "127.0.0.1",
        "FAIRLEAD_EDGE_PORT": str(port),
        "FAIRLEAD_EDGE_NAME": name,
    }
    with tempfile.TemporaryDirectory(prefix="fairlead-perf-") as folder:
        log = Path(folder) / "edge.log"
        started_at = time.monotonic()
        with log.open("wb") as output:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "services.edge"), env=environ, stdout=output, stderr=output
            )
        try:
            yield OwnEdge(process, name, port, log, started_at)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()


async def answers_in_time(port: int, poll_s: float, alive: Callable[[], bool] = lambda: True) -> bool:
    """Whether /readyz says 200 within `READY_WITHIN_S`; not asked any more once it is not `alive`."""
    until = time.monotonic() + READY_WITHIN_S
    while time.monotonic() < until and alive():
        if await asyncio.to_thread(_answers, f"http://127.0.0.1:{port}/readyz"):
            return True
        await asyncio.sleep(poll_s)
    return False


def tail_of(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-_LOG_TAIL_LINES:])


def free_port() -> int:
    """A port that nobody has, below the range for outgoing connections: thousands of those are about to be made."""
    for _ in range(100):
        port = random.randint(15_000, 30_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise Refusal("no free port was found; name one with --port")


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _read(url: str) -> str:
    with urllib.request.urlopen(url, timeout=5) as answer:
        return str(answer.read().decode())
