"""The composition root: all parts are made and connected here, and started and stopped in one lifespan."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import AsyncIterator, Callable
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
from services.chassis.process.log_fields import about
from services.chassis.process.reload import Reloads
from services.chassis.process.tasks import end, vital
from services.metrics.aggregator import Aggregator
from services.metrics.capacity.levels import FORGET_S
from services.metrics.catalog import CLUSTER_SERIES
from services.metrics.edge_count import CountSettings
from services.metrics.exposition import ClusterMetrics
from services.metrics.forecast_loop import ForecastLoop
from services.metrics.forecasting.forecaster import forecast, missing_extra
from services.metrics.forecasting.prediction import HOUR_S
from services.metrics.history import History
from services.metrics.minutes import Minute, MinuteBook
from services.metrics.overview import overview
from services.metrics.plan_api import PlanApi
from services.metrics.plan_catalog import PLAN_SERIES
from services.metrics.plan_exposition import PlanMetrics
from services.metrics.plan_nats import PlanResponder
from services.metrics.planner import EdgeLimits, Planner
from services.metrics.recorder import Recorder
from services.metrics.settings import MetricsSettings
from services.metrics.store import STORE_SERIES, StoreMetrics
from services.metrics.store_nats import StoreWatch

log = logging.getLogger(__name__)

FORGET_AFTER_S = 900.0
"""How long the counters of a name stay after it was last heard: longer than any restart takes."""


_LEARNED_HOURS = 5_000
"""How many hours of single edges the laws are fitted to at the start."""

_POOL_SIZE = 2
"""Connections to PostgreSQL: one for writing, one for reading."""


class Metrics:
    """One process of the metrics service. Its current figures are complete a second after its start; what it knows of
    the past is in PostgreSQL, if one is configured."""

    def __init__(
        self,
        settings: MetricsSettings,
        now: Callable[[], float] = time.time,
        read: Callable[[], MetricsSettings] | None = None,
    ) -> None:
        """`now` returns Unix time in seconds, which decides when minutes and hours begin. `read` reads the settings
        anew."""
        self.settings = settings
        self._now = now
        self._aggregator = Aggregator(LOST_AFTER_S, time.monotonic())
        self._figures = ClusterMetrics(self._aggregator, time.monotonic)
        self._link = NatsLink(
            settings.nats,
            settings.name,
            on_connected=lambda: self._aggregator.listens(time.monotonic()),
            on_disconnected=self._aggregator.hears_nobody,
            inbox_prefix=subjects.inbox_prefix("metrics"),
        )
        self._instance = uuid.uuid4().hex
        self._pulse = Pulse(self._link, "metrics", settings.name, self._instance)
        self.reloads = Reloads(settings, read or (lambda: settings), frozenset(), _adopt_nothing)
        self._book = MinuteBook()
        self._recorder = Recorder(now) if settings.postgres.url else None
        self._store_figures = StoreMetrics()
        self._store_watch = StoreWatch(self._link, self._store_figures)
        self._planner = _planner_of(settings)
        self._plan_figures = PlanMetrics(self._planner, self._recorder, now)
        self._plan_api = PlanApi(self._planner, now)
        self._forecasts = ForecastLoop(
            self._planner,
            forecast,
            settings.forecast.interval,
            int(settings.forecast.horizon // HOUR_S),
            now,
            self._plan_figures.count_failure,
        )
        self._history: History | None = None
        self._history_known = asyncio.Event()

    def application(self) -> Starlette:
        """The HTTP application, whose lifespan runs the service."""

        @asynccontextmanager
        async def lifespan(app: Starlette) -> AsyncIterator[None]:
            tasks = [vital(self._listen()), vital(self._forget()), vital(self._record()), vital(self._foresee())]
            try:
                yield
            finally:
                await end(tasks)
                await self.reloads.stop()
                await self._link.close()

        own = ProcessMetrics(
            "metrics", self.settings.name, self._instance, VERSION, self._pulse.loop_lag, self.reloads, self._link
        )
        cluster = PageCollector(CLUSTER_SERIES, self._figures.fill)
        plan = PageCollector(PLAN_SERIES, self._plan_figures.fill)
        registry = own.registry(cluster, plan, PageCollector(STORE_SERIES, self._store_figures.fill))
        routes = [*health_routes(self._unready, registry), Route("/cluster", self._cluster), *self._plan_api.routes()]
        return make_application(routes, lifespan=lifespan)

    async def _record(self) -> None:
        if self._recorder is None:
            log.info("no history and no forecast: postgres.url is not set")
            self._planner.forecasted(None, "postgres.url is not set: there is no history to forecast from")
            return
        from services.chassis.postgres.pool import Pool  # the driver is loaded only if there is a database
        from services.metrics.history_postgres import PostgresHistory
        from services.metrics.schema_postgres import SCHEMA

        url, settings = self.settings.postgres.url, self.settings.history

        async def prepare() -> None:
            await (SCHEMA.migrate(url) if settings.migrate else SCHEMA.check(url))

        async with Pool(url, _POOL_SIZE) as pool:
            history = PostgresHistory(pool, settings.keep_minutes, settings.keep_hours)
            await self._recorder.run(history, prepare, self._learn)

    async def _learn(self, history: History) -> None:
        self._planner.learn(await history.hours(self._now() - FORGET_S, whole=False, limit=_LEARNED_HOURS))
        self._history = history
        self._history_known.set()

    async def _foresee(self) -> None:
        if (problem := missing_extra()) is not None:
            log.info("no forecast: %s", problem)
            self._planner.forecasted(None, problem)
            return
        await self._history_known.wait()
        assert self._history is not None
        await self._forecasts.run(self._history)

    async def _listen(self) -> None:
        await self._link.open()
        self._link.subscribe(subjects.telemetry_of("*"), lambda subject, reply, headers, data: self._heard(data))
        PlanResponder(self._link, self._plan_api).listen()
        log.info("ready: http://%s:%d/metrics and /cluster", self.settings.metrics.host, self.settings.metrics.port)
        await asyncio.gather(self._pulse.run(), self._store_watch.run(), self._look_for_silence())

    async def _look_for_silence(self) -> None:
        while True:
            await asyncio.sleep(1.0)
            now = time.monotonic()
            for heard, beat in self._aggregator.count_lost(now):
                what = "an edge is lost: it has been silent for %.1f s; it was killed, hangs, or cannot reach NATS"
                log.warning(what, now - heard, extra=about(edge=beat.name, instance=beat.instance))
            self._planner.sweep(self._now())

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
        minutes = self._book.heard(beat, self._now())
        if minutes:
            self._minute_ended(minutes)

    def _minute_ended(self, minutes: list[Minute]) -> None:
        self._planner.minute_ended(minutes)
        if self._recorder is not None:
            self._recorder.add(minutes)

    def _unready(self) -> str | None:
        return self._link.problem or (None if self._link.is_connected else "NATS: not connected")

    async def _cluster(self, request: Request) -> Response:
        body = msgspec.json.encode(overview(self._aggregator.alive(time.monotonic())))
        return Response(body, media_type="application/json")


async def _adopt_nothing(settings: MetricsSettings) -> None:
    """Never called: this service changes no setting by a reload, and reports that every changed one needs a restart."""


def _planner_of(settings: MetricsSettings) -> Planner:
    own = settings.capacity
    return Planner(
        EdgeLimits(own.utilization, own.cpu, own.memory, own.bandwidth, float(own.loop_lag)),
        CountSettings(own.min_edges, own.max_edges, own.spare_edges, float(own.lead_time), float(own.scale_in_after)),
        settings.forecast.certainty,
    )


def serve(settings: MetricsSettings, read: Callable[[], MetricsSettings]) -> None:
    """Runs the service until a signal."""
    app = Metrics(settings, read=read)
    run(
        app.application(),
        host=settings.metrics.host,
        ports={"metrics.port": settings.metrics.port},
        hung_up=app.reloads.request,
        gc_thresholds=settings.process.gc_thresholds,
    )
