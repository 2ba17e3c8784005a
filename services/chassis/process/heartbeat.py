"""The heartbeat of a process: once a second it publishes its identity and figures, see `proto.telemetry`."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from importlib.metadata import version
from typing import Protocol

from proto import subjects
from proto.telemetry import HEARTBEAT_INTERVAL_S, Heartbeat, Process, encode_heartbeat
from services.chassis.metrics.loop_lag import LoopLag
from services.chassis.nats.link import NatsAway
from services.chassis.process.resources import OwnProcess


class HeartbeatLink(Protocol):
    """Where heartbeats go: a `NatsLink`, or its substitute in a process without NATS."""

    def publish(self, subject: str, data: bytes) -> None: ...


AddFigures = Callable[[Heartbeat], Heartbeat]
"""Adds the figures that only the service knows to the heartbeat."""

VERSION = version("fairlead")


def _no_figures(heartbeat: Heartbeat) -> Heartbeat:
    return heartbeat


class Pulse:
    """Sends the heartbeats of the process `instance` of `service`, which operators call `name`."""

    def __init__(
        self, link: HeartbeatLink, service: str, name: str, instance: str, add_figures: AddFigures = _no_figures
    ) -> None:
        self._link = link
        self._service = service
        self._name = name
        self._instance = instance
        self._add_figures = add_figures
        self._process = OwnProcess()
        self._subject = subjects.telemetry(service, instance)
        self._started = time.monotonic()
        self._leaving = False
        self.loop_lag = LoopLag()

    async def run(self) -> None:
        """Sends heartbeats until cancelled. One that cannot be sent is skipped, since the next one replaces it."""
        loop = asyncio.get_running_loop()
        due = loop.time()
        self.loop_lag.start()
        try:
            while True:
                self.beat()
                due += HEARTBEAT_INTERVAL_S
                await asyncio.sleep(max(0.0, due - loop.time()))
                due = max(due, loop.time() - HEARTBEAT_INTERVAL_S)  # no burst after a long stall
        finally:
            self.loop_lag.stop()

    def beat(self) -> None:
        """Sends one heartbeat now."""
        with contextlib.suppress(NatsAway):
            self._link.publish(self._subject, encode_heartbeat(self._heartbeat()))

    def last_beat(self) -> None:
        """Sends the last heartbeat, which announces the end of the process."""
        self._leaving = True
        self.beat()

    def _heartbeat(self) -> Heartbeat:
        heartbeat = Heartbeat(
            service=self._service,
            name=self._name,
            instance=self._instance,
            version=VERSION,
            at=int(time.time() * 1000),
            process=self._measure(),
            leaving=self._leaving,
        )
        return self._add_figures(heartbeat)

    def _measure(self) -> Process:
        usage = self._process.usage()
        return Process(
            cpu_s=usage.cpu_s,
            rss_bytes=usage.rss_bytes,
            open_fds=usage.open_fds,
            max_fds=usage.max_fds,
            loop_lag_s=round(self.loop_lag.peak(), 6),
            uptime_s=round(time.monotonic() - self._started, 3),
        )
