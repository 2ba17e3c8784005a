"""A sessions service of perf's own, and a session log for it to read."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import tempfile
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

import psutil

from deploy.processes.ports import free_port
from deploy.processes.process import Process, Program
from deploy.processes.readiness import http_status
from perf.servers import metrics, processes
from perf.servers.postgres import OwnPostgres
from perf.servers.stack import OwnStack
from proto import subjects
from proto.events import LOG_DUPLICATE_WINDOW_S, LOG_MAX_AGE_S, EventBatch, encode_batch
from services.chassis.nats.link import NatsLink
from services.chassis.nats.settings import NatsSettings
from services.chassis.nats.stream_making import ensure_stream, stream_config
from services.chassis.nats.streams import store

STOP_WITHIN_S = 20.0
IN_FLIGHT = 32
_FOLDED = "fairlead_sessions_events_applied_total"


async def fill_log(stack: OwnStack, batches: Iterable[EventBatch]) -> int:
    """Stores batches in their order. Returns the number of events in them."""
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
    """Made by `running_sessions`."""

    def __init__(self, process: Process, port: int) -> None:
        self.pid = process.pid
        self.log = process.log_text
        self.port = port
        self._stats = psutil.Process(process.pid)

    async def folded(self) -> float:
        """The number of events that are in PostgreSQL."""
        return await asyncio.to_thread(metrics.read, self.port, _FOLDED)

    def cpu_s(self) -> float:
        times = self._stats.cpu_times()
        return times.user + times.system


@contextlib.asynccontextmanager
async def running_sessions(
    stack: OwnStack, database: OwnPostgres, toml: str = "", **settings: str
) -> AsyncIterator[OwnSessions]:
    """A service that has started and answers; it may already have begun to fold. Raises `Refusal` if it does not get
    ready.

    `toml` is its configuration file; `settings` are variables without their prefix: outbox_url=...
    """
    port = free_port()
    environ = dict(stack.environ)
    variables = {"FAIRLEAD_POSTGRES_URL": database.url, "FAIRLEAD_SESSIONS_PORT": str(port)}
    variables |= {f"FAIRLEAD_{name.upper()}": value for name, value in settings.items()}
    program = Program("the sessions service", (sys.executable, "-m", "services.sessions"), variables)
    with tempfile.TemporaryDirectory(prefix="fairlead-perf-sessions-") as folder:
        config = Path(folder) / "fairlead.toml"
        config.write_text(toml)
        environ["FAIRLEAD_CONFIG"] = str(config)
        service = Process(program, Path(folder) / "sessions.log", environ=environ, popen=processes.popen)
        async with processes.running(service, STOP_WITHIN_S):
            await processes.ready(service, lambda: http_status(port, path="/metrics") is not None)
            yield OwnSessions(service, port)
