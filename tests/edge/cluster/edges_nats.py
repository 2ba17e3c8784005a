"""Edges on a real NATS that know of each other, for the tests of `failure_detector_nats` and `peers_nats`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any
from unittest.mock import patch

from proto import subjects
from proto.telemetry import Heartbeat, Process, encode_heartbeat
from services.chassis.nats.link import NatsAway, NatsLink
from services.chassis.nats.settings import NatsSettings
from services.edge.cluster import failure_detector_nats
from services.edge.cluster.cluster import Cluster
from services.edge.cluster.failure_detector_nats import FailureDetector
from services.edge.cluster.peers_nats import NatsPeers
from tests.contract.peers import Edge

FASTER = 4
"""How much faster than the loop's the clock of the clusters runs, and the edges' hearts beat."""
FLUSH_TIMEOUT_S = failure_detector_nats._FLUSH_TIMEOUT_S


def heartbeat(instance: str, **more: Any) -> bytes:
    process = Process(cpu_s=0, rss_bytes=0, open_fds=0, max_fds=0, loop_lag_s=0, uptime_s=0)
    beat = Heartbeat(service="edge", name=instance, instance=instance, version="", at=0, process=process, **more)
    return encode_heartbeat(beat)


class RunningEdge(Edge):
    """An edge on NATS that beats and watches. It can be killed, and made to hang, as if it were a process."""

    def __init__(self, url: str, instance: str) -> None:
        loop = asyncio.get_running_loop()
        self.link = NatsLink(NatsSettings(url=url), instance, lambda: self.nats.on_connected(), self._on_disconnected)
        cluster = Cluster(lambda: loop.time() * FASTER, instance)
        self.nats = FailureDetector(self.link, cluster, self.beat)
        self.nats_peers = NatsPeers(self.link, self.nats)
        self.beats = 0
        self.tasks: list[asyncio.Task[None]] = []
        super().__init__(self.nats_peers, cluster)

    def _on_disconnected(self) -> None:
        self.nats.on_disconnected()

    async def start(self) -> None:
        await self.link.open()
        await self.nats_peers.start(self.respond)
        await self.nats.start()
        self.tasks = [asyncio.create_task(self.nats.watch()), asyncio.create_task(self.beat_on())]

    async def beat_on(self) -> None:
        while True:
            await asyncio.sleep(1 / FASTER)
            self.beat()

    def beat(self, **more: Any) -> None:
        self.beats += 1
        with suppress(NatsAway):
            self.link.publish(subjects.telemetry("edge", self.instance), heartbeat(self.instance, **more))

    def turn_the_clock(self, by_s: float) -> None:
        """Makes its cluster believe that it is so much later."""
        before = self.cluster._now
        self.cluster._now = lambda: before() + by_s

    def stop_the_clock(self) -> None:
        now = self.cluster._now()
        self.cluster._now = lambda: now

    @property
    def transport(self) -> Any:
        return self.link._client._transport._io_writer.transport  # type: ignore[union-attr]  # of nats-py's own kind

    def kill(self) -> None:
        for task in self.tasks:
            task.cancel()
        self.link._client.options["allow_reconnect"] = False
        self.transport.abort()

    def hang(self) -> None:
        self.tasks[1].cancel()
        self.transport.pause_reading()

    def wake(self) -> None:
        self.transport.resume_reading()
        self.tasks[1] = asyncio.create_task(self.beat_on())

    async def stop(self) -> None:
        for task in self.tasks:
            task.cancel()
        self.nats_peers.stop()
        self.nats.stop()
        await self.link.close()


@asynccontextmanager
async def running(url: str, instance: str) -> AsyncIterator[RunningEdge]:
    edge = RunningEdge(url, instance)
    with patch.object(failure_detector_nats, "_FLUSH_TIMEOUT_S", FLUSH_TIMEOUT_S / FASTER):
        await edge.start()
        try:
            yield edge
        finally:
            await edge.stop()
