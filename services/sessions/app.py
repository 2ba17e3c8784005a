"""The composition root: all parts are made and connected here, and started and stopped in one lifespan."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from typing import Final

from msgspec.structs import replace
from starlette.applications import Starlette
from starlette.exceptions import HTTPException

from proto import subjects
from proto.telemetry import LOST_AFTER_S, Heartbeat, SessionsLoad
from services.chassis.http.api_key import ApiKeys
from services.chassis.http.application import make_application
from services.chassis.http.health import health_routes
from services.chassis.http.server import run
from services.chassis.metrics.process import ProcessMetrics
from services.chassis.nats.link import NatsLink
from services.chassis.postgres.pool import Pool
from services.chassis.process.heartbeat import VERSION, Pulse
from services.chassis.process.reload import Reloads
from services.chassis.process.tasks import end, vital
from services.chassis.tracing.tracing import Tracing
from services.sessions.api.calls import Calls
from services.sessions.api.calls_http import SessionsApi, on_http_error
from services.sessions.api.calls_nats import NatsCalls
from services.sessions.api.export_http import DESCRIPTION as EXPORT
from services.sessions.api.export_http import MAX_EXPORTS, ExportApi
from services.sessions.api.live import Hub
from services.sessions.api.live_http import DESCRIPTION as LIVE
from services.sessions.api.live_http import LiveApi
from services.sessions.api.model_questions import ModelQuestions
from services.sessions.api.positions import PositionReader
from services.sessions.api.presence_questions import PresenceQuestions
from services.sessions.api.questions import Question, SessionQuestions
from services.sessions.api.reader_postgres import ReadPool, SessionsReader
from services.sessions.api.session_counts import SessionCounts
from services.sessions.api.session_export import PORTION_S, SessionsExport
from services.sessions.changes_nats import ChangesFeed
from services.sessions.edge_silence import EdgeSilence
from services.sessions.edge_watch import EdgeWatch
from services.sessions.heard_edges import HeardEdges
from services.sessions.heard_edges_postgres import HeardTable
from services.sessions.instruments import Instruments
from services.sessions.log_nats import FOLDED_BYTES, SessionLog
from services.sessions.model_numbers_postgres import warn_of_outdated
from services.sessions.outbox.publisher_nats import OutboxPublisher
from services.sessions.outbox.relay import Relay
from services.sessions.outbox.table_postgres import MARKING, OutboxTable
from services.sessions.privacy.access import opened
from services.sessions.privacy.calls_http import PrivacyApi
from services.sessions.projection_watch import ProjectionWatch
from services.sessions.projector import Projector
from services.sessions.queries.channels_postgres import Channels
from services.sessions.queries.drops_postgres import DropCounts
from services.sessions.queries.edges_postgres import Edges
from services.sessions.queries.presence_postgres import Presence
from services.sessions.queries.present_counts_postgres import PresenceCounts
from services.sessions.queries.refusals_postgres import RefusalCounts
from services.sessions.queries.subscribed_channels_postgres import SubscribedChannels
from services.sessions.queries.timeline_postgres import Timelines
from services.sessions.queries.user_story_postgres import UserStories
from services.sessions.queries.users_postgres import Users
from services.sessions.queries.versions_postgres import VersionQueries
from services.sessions.retention_postgres import Retention
from services.sessions.schema_postgres import SCHEMA
from services.sessions.settings import SessionsSettings, cautions
from services.sessions.store_postgres import PostgresStore
from services.sessions.webhooks.settings import MAX_WEBHOOKS
from services.sessions.webhooks.webhooks import Webhooks

log = logging.getLogger(__name__)

RELOADABLE: Final = frozenset({"http_api", "sessions.webhooks"})
"""The sections and keys that a reload may change."""

_WORK_CONNECTIONS: Final = 4
"""Connections to PostgreSQL for the fold, for the table of heard edges, the search for lost edges, and retention."""

_AT_ONCE_S: Final = 1.0
"""If NATS accepts a connection within this time, it was there before this process."""

_READ_CONNECTIONS: Final = 5
"""Connections that serve queries. They are separate: however slow queries are, facts are folded."""

_LEAVE_S: Final = 6.0
"""For how long a stop waits for rows of the outbox that are being published."""


class Sessions:
    """One process of the sessions service. `instance` is new at each start."""

    def __init__(self, settings: SessionsSettings, read: Callable[[], SessionsSettings]) -> None:
        """`read` reads the settings anew, for a reload."""
        self.reloads = Reloads(settings, read, RELOADABLE, self._adopt)
        self.instance = uuid.uuid4().hex
        self._instruments = Instruments()
        self._tracing = Tracing(settings.tracing, "sessions", settings.name, self.instance, VERSION)
        self._link = NatsLink(
            settings.nats, settings.name, self._on_connected, self._on_disconnected, subjects.inbox_prefix("sessions")
        )
        self._log = SessionLog(self._link, settings.sessions.log_max_age, settings.sessions.log_max_bytes)
        self._pool = Pool(settings.postgres.url, _WORK_CONNECTIONS)
        self._read_pool = ReadPool(settings.postgres.url, _READ_CONNECTIONS)
        self._changes = ChangesFeed(self._link)
        store = PostgresStore(self._pool, int(settings.sessions.resume_window * 1000), self._changes)
        folded_log = SessionLog(
            self._link, settings.sessions.log_max_age, settings.sessions.log_max_bytes, FOLDED_BYTES
        )
        self._projector = Projector(
            folded_log, store, self._prepare, self._instruments, self._tracing.tracer, settings.sessions.archive
        )
        self._watch = ProjectionWatch(self._log, self._projector, self._instruments)
        self._silence = EdgeSilence(LOST_AFTER_S)
        self._heard_edges = HeardEdges(HeardTable(self._pool))
        self._edge_watch = EdgeWatch(
            self._silence, self._log, store, self._heard_edges, settings.name, lambda: self._projector.caught_up
        )
        self._prepared = asyncio.Event()
        self._connecting_since: float | None = None  # for the first time
        self._retention = Retention(
            self._pool,
            settings.sessions.keep,
            self._instruments,
            settings.sessions.archive_keep,
            settings.sessions.log_max_age,
            settings.sessions.facts_kept,
        )
        self._webhook_pool = Pool(settings.postgres.url, MAX_WEBHOOKS)  # each holds one while it works
        self._webhooks = Webhooks(
            self._log, self._webhook_pool, self._prepare, self._instruments, settings.sessions.log_max_age
        )
        outbox = settings.outbox
        self._outbox_link = NatsLink(
            settings.nats, f"{settings.name}-outbox", lambda: self._relay.notify(), inbox_prefix=subjects.OUTBOX_INBOX
        )
        self._outbox_pool = Pool(outbox.url, outbox.workers + MARKING)
        self._relay = Relay(
            OutboxTable(self._outbox_pool, outbox.url),
            OutboxPublisher(self._outbox_link),
            self._instruments,
            outbox.workers,
            outbox.poll_interval,
        )
        self._pulse = Pulse(self._link, "sessions", settings.name, self.instance, self._add_load)
        self._api_keys = ApiKeys(settings.http_api)
        self._hub = Hub(self._changes.want)
        self._instruments.followers.set_function(lambda: float(len(self._hub)))
        self._export_pool = ReadPool(settings.postgres.url, MAX_EXPORTS, PORTION_S)
        calls = Calls(PositionReader(self._read_pool), keep_s=settings.sessions.keep)
        questions = _questions(self._read_pool)
        export = ExportApi(self._api_keys, calls, SessionsExport(self._export_pool))
        live = LiveApi(self._api_keys, self._hub)
        others = ((EXPORT, export.export), (LIVE, live.live))
        answered = self._instruments.answered
        self._api = SessionsApi(self._api_keys, calls, questions, others, answered)
        self._nats_calls = NatsCalls(self._link, calls, questions, answered)
        self._privacy = PrivacyApi(self._api_keys, lambda: opened(self.settings))

    @property
    def settings(self) -> SessionsSettings:
        """The settings that apply now: a reload replaces them."""
        return self.reloads.running

    def application(self) -> Starlette:
        """The HTTP application, whose lifespan runs the service."""

        @asynccontextmanager
        async def lifespan(app: Starlette) -> AsyncIterator[None]:
            self._tracing.start()
            async with AsyncExitStack() as stack:
                for pool in (self._pool, self._read_pool, self._export_pool, self._webhook_pool):
                    await stack.enter_async_context(pool)
                work = (
                    self._projector.run(),
                    self._listen(),
                    self._keep_heard(),
                    self._edge_watch.run(),
                    self._retention.run(),
                )
                tasks = [vital(one) for one in work]
                await self._webhooks.adopt(self.settings.sessions.webhooks)
                if self.settings.outbox.url:
                    await stack.enter_async_context(self._outbox_pool)
                    tasks.append(vital(self._relay_outbox()))
                try:
                    yield
                finally:
                    await self._privacy.stop()
                    await self._relay.leave(_LEAVE_S)
                    self._pulse.beat()  # says how far the fold has come
                    await self._nats_calls.stop()
                    await self.reloads.stop()
                    await self._webhooks.stop()
                    await end(tasks)
                    if self.settings.outbox.url:
                        await self._outbox_link.close()
                    await self._link.close()
                    await self._tracing.stop()

        own = ProcessMetrics(
            "sessions",
            self.settings.name,
            self.instance,
            VERSION,
            self._pulse.loop_lag,
            self.reloads,
            self._link,
            self._tracing.queue,
        )
        registry = own.registry(self._instruments.registry)
        health = health_routes(
            lambda: self._link.problem or self._projector.problem,
            registry,
            lambda: (
                self._edge_watch.problem or self._relay.problem or self._outbox_link.problem or self._webhooks.problem
            ),
        )
        routes = health + self._api.routes() + self._privacy.routes()
        return make_application(routes, lifespan=lifespan, exception_handlers={HTTPException: on_http_error})

    async def leave(self) -> None:
        """Ends whatever would hold up the end of the process: followers of changes are told to follow another
        instance."""
        self._hub.close()

    async def _adopt(self, settings: SessionsSettings) -> None:
        """Uses these settings from now on."""
        self._api_keys.replace(settings.http_api)
        await self._webhooks.adopt(settings.sessions.webhooks)

    async def _listen(self) -> None:
        self._connecting_since = asyncio.get_running_loop().time()
        await self._link.open()
        self._log.on_written(self._on_written)
        self._changes.listen(self._hub.heard)
        self._nats_calls.start()
        self._link.subscribe(
            subjects.telemetry_of("edge"), lambda subject, reply, headers, data: self._edge_watch.heard(data)
        )
        followed = self._changes.keep_wanting(lambda: len(self._hub) > 0)
        await asyncio.gather(self._pulse.run(), self._watch.run(), followed)

    async def _relay_outbox(self) -> None:
        await self._outbox_link.open()
        await self._relay.run()

    async def _prepare(self) -> None:
        url = self.settings.postgres.url
        await (SCHEMA.migrate(url) if self.settings.sessions.migrate else SCHEMA.check(url))
        await warn_of_outdated(self._pool)
        await self._retention.prepare(datetime.now(UTC))
        self._prepared.set()

    async def _keep_heard(self) -> None:
        await self._prepared.wait()  # its table is there
        await self._heard_edges.run()

    def _on_written(self) -> None:
        self._projector.notify()
        self._webhooks.notify()

    def _on_connected(self) -> None:
        now, since = asyncio.get_running_loop().time(), self._connecting_since
        self._silence.on_connected(now, at_the_start=since is not None and now - since < _AT_ONCE_S)
        self._connecting_since = None
        self._hub.missed()  # changes of the time without NATS
        self._projector.notify()

    def _on_disconnected(self) -> None:
        self._silence.on_disconnected()

    def _add_load(self, heartbeat: Heartbeat) -> Heartbeat:
        projector = self._projector
        load = SessionsLoad(
            events_applied=projector.events_applied,
            stream_sequence=projector.sequence,
            lag_batches=self._watch.lag_batches,
        )
        return replace(heartbeat, sessions=load)


def _questions(pool: ReadPool) -> list[Question]:
    """All questions that the read API answers."""
    sessions = SessionQuestions(SessionsReader(pool), SessionCounts(pool))
    models = ModelQuestions(
        Timelines(pool),
        Users(pool),
        Channels(pool),
        SubscribedChannels(pool),
        DropCounts(pool),
        RefusalCounts(pool),
        Edges(pool),
        VersionQueries(pool),
    )
    presence = PresenceQuestions(Presence(pool), PresenceCounts(pool), UserStories(pool))
    return [*sessions.questions(), *presence.questions(), *models.questions()]


def serve(settings: SessionsSettings, read: Callable[[], SessionsSettings]) -> None:
    """Runs the service until a signal."""
    for caution in cautions(settings):
        log.warning("%s", caution)
    app = Sessions(settings, read)
    run(
        app.application(),
        host=settings.sessions.host,
        ports={"sessions.port": settings.sessions.port},
        before_shutdown=app.leave,
        hung_up=app.reloads.request,
        gc_thresholds=settings.process.gc_thresholds,
    )
