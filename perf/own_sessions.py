"""A sessions service of perf's own, and a log for it to read."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

import psutil

from perf import own_edge, own_server
from perf.own_edge import free_port
from perf.own_postgres import OwnPostgres
from perf.own_stack import OwnStack
from perf.reporting import RunFailed
from proto import subjects
from proto.events import LOG_DUPLICATE_WINDOW_S, LOG_MAX_AGE_S, EventBatch, encode_batch
from services.chassis.nats.link import NatsLink
from services.chassis.nats.streams import ensure_stream, store, stream_config
from services.chassis.process.settings import NatsSettings

STOP_WITHIN_S = 20.0
IN_FLIGHT = 32
_POLL_S = 0.02


async def fill_log(stack: OwnStack, batches: Iterable[EventBatch]) -> int:
    """Stores batches in their order. How many facts they hold."""
    link = NatsLink(NatsSettings(url=stack.nats_url), "perf-fold")
    await link.open()
    try:
        config = stream_config(
            subjects.SESSIONS_STREAM, subjects.SESSION_EVENTS_ALL, LOG_MAX_AGE_S, LOG_DUPLICATE_WINDOW_S
        )
        await ensure_stream(link, config)
        events = 0
        waiting: list[asyncio.Task[object]] = []
        for batch in batches:
            events += len(batch.events)
            subject = subjects.session_events(batch.instance)
            waiting.append(asyncio.create_task(store(link, subject, encode_batch(batch), None)))
            if len(waiting) >= IN_FLIGHT:
                await asyncio.gather(*waiting)
                waiting.clear()
        await asyncio.gather(*waiting)
        return events
    finally:
        await link.close()


class OwnSessions:
    """Made by `running`."""

    def __init__(self, process: asyncio.subprocess.Process, port: int) -> None:
        self.pid = process.pid
        self._port = port
        self._stats = psutil.Process(process.pid)

    async def folded(self) -> float:
        """Facts that are in PostgreSQL; 0 while it does not answer yet."""
        text = await asyncio.to_thread(_read, f"http://127.0.0.1:{self._port}/metrics")
        name = "fairlead_sessions_events_applied_total "
        return next((float(line.split()[1]) for line in text.splitlines() if line.startswith(name)), 0.0)

    def cpu_s(self) -> float:
        times = self._stats.cpu_times()
        return times.user + times.system


@contextlib.asynccontextmanager
async def running(stack: OwnStack, database: OwnPostgres) -> AsyncIterator[OwnSessions]:
    """Started, and answering; it may have begun to fold. Raises `RunFailed` when it does not come up."""
    port = free_port()
    environ = {name: value for name, value in stack.environ.items() if name != "FAIRLEAD_CONFIG"} | {
        "FAIRLEAD_POSTGRES_URL": database.url,
        "FAIRLEAD_SESSIONS_PORT": str(port),
    }
    with tempfile.TemporaryDirectory(prefix="fairlead-perf-sessions-") as folder:
        log = Path(folder) / "sessions.log"
        command = (sys.executable, "-m", "services.sessions")
        async with own_server.running(command, log, environ, stop_within_s=STOP_WITHIN_S) as process:
            until = time.monotonic() + own_server.READY_WITHIN_S
            while not await asyncio.to_thread(_read, f"http://127.0.0.1:{port}/metrics"):
                if process.returncode is not None or time.monotonic() > until:
                    raise RunFailed(f"the sessions service does not come up; its log ends:\n{own_edge.tail_of(log)}")
                await asyncio.sleep(_POLL_S)
            yield OwnSessions(process, port)


def _read(url: str) -> str:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return str(answer.read().decode())
    except (urllib.error.URLError, OSError):
        return ""
