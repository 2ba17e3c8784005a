"""The composition root: all parts are made and connected here, and started and stopped in one lifespan."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from proto import subjects
from proto.telemetry import LOST_AFTER_S, decode_heartbeat
from services.chassis.http.application import make_application
from services.chassis.http.health import health_routes
from services.chassis.http.server import run
from services.chassis.metrics.page import PageCollector
from services.chassis.metrics.process import ProcessMetrics
from services.chassis.nats.link import NatsLink
from services.chassis.process.heartbeat import VERSION, Pulse
from services.chassis.process.tasks import end, vital
from services.metrics.aggregator import Aggregator
from services.metrics.catalog import CLUSTER_SERIES
from services.metrics.exposition import ClusterMetrics
from services.metrics.overview import overview
from services.metrics.settings import MetricsSettings

log = logging.getLogger(__name__)

FORGET_AFTER_S = 900.0
"""For how long the counters of a name stay after it was last heard: longer than any restart takes."""


class Metrics:
    """One process of the metrics service. It stores nothing: its figures are complete a second after its start."""

    def __init__(self, settings: MetricsSettings) -> None:
        self.settings = settings
        self._aggregator = Aggregator(LOST_AFTER_S, time.monotonic())
        self._figures = ClusterMetrics(self._aggregator, time.monotonic)
        self._link = NatsLink(settings.nats, settings.name)
        self._pulse = Pulse(self._link, "metrics", settings.name, uuid.uuid4().hex)

    def application(self) -> Starlette:
        """The HTTP application, whose lifespan runs the service."""

        @asynccontextmanager
        async def lifespan(app: Starlette) -> AsyncIterator[None]:
            tasks = [vital(self._listen()), vital(self._forget())]
            try:
                yield
            finally:
                await end(tasks)
                await self._link.close()

        own = ProcessMetrics("metrics", self.settings.name, VERSION, self._pulse.loop_lag, self._link)
        registry = own.registry(PageCollector(CLUSTER_SERIES, self._figures.fill))
        routes = [*health_routes(self._unready, registry), Route("/cluster", self._cluster)]
        return make_application(routes, lifespan=lifespan)

    async def _listen(self) -> None:
        await self._link.open()
        self._link.subscribe(subjects.telemetry_of("*"), lambda subject, reply, headers, data: self._heard(data))
        log.info("ready: http://%s:%d/metrics and /cluster", self.settings.metrics.host, self.settings.metrics.port)
        await self._pulse.run()

    async def _forget(self) -> None:
        while True:
            await asyncio.sleep(FORGET_AFTER_S / 10)
            self._aggregator.forget(time.monotonic(), FORGET_AFTER_S)

    def _heard(self, data: bytes) -> None:
        try:
            beat = decode_heartbeat(data)
        except (msgspec.DecodeError, RecursionError) as error:
            self._figures.rejected += 1
            log.debug("a message is not a heartbeat: %s", error)
            return
        self._figures.heartbeats += 1
        self._aggregator.heard(beat, time.monotonic())

    def _unready(self) -> str | None:
        return None if self._link.is_connected else "NATS: not connected"

    async def _cluster(self, request: Request) -> Response:
        body = msgspec.json.encode(overview(self._aggregator.alive(time.monotonic())))
        return Response(body, media_type="application/json")


def serve(settings: MetricsSettings) -> None:
    """Runs the service until a signal."""
    run(Metrics(settings).application(), host=settings.metrics.host, ports={"metrics.port": settings.metrics.port})
