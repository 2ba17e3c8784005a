"""The edge's composition root: makes and connects everything, and starts and stops it in one lifespan."""

from __future__ import annotations

import asyncio
import gc
import logging
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

from msgspec.structs import replace
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from proto.events import EdgeStarted
from proto.telemetry import EdgeLoad, EdgeMemory, Heartbeat
from services.chassis.http.api_key import ApiKeys
from services.chassis.http.application import make_application
from services.chassis.http.client_address import Proxies
from services.chassis.http.health import health_routes
from services.chassis.http.limits import MAX_HEAD_BYTES
from services.chassis.http.server import run
from services.chassis.metrics.page import Page, PageCollector
from services.chassis.metrics.process import ProcessMetrics
from services.chassis.process.complaint import Complaint
from services.chassis.process.heartbeat import VERSION
from services.chassis.process.log_fields import about
from services.chassis.process.memory import available_bytes, give_back, resident_bytes
from services.chassis.process.reload import Reloads
from services.chassis.process.resources import descriptor_limit
from services.chassis.process.tasks import end, vital
from services.chassis.process.turns import Turns
from services.chassis.tracing.tracing import Tracing
from services.edge.adapters import Adapters
from services.edge.adapters_memory import MemoryAdapters
from services.edge.adapters_nats import NatsAdapters
from services.edge.adoption import RELOADABLE, Adoption, verifier_of
from services.edge.arrival import UserHeader
from services.edge.backend.configured_backends import ConfiguredBackends
from services.edge.backend.question_headers import form_of, kept, wanted_emulated
from services.edge.broker.broker import BrokerAway, BrokerRefused
from services.edge.cautions import cautions
from services.edge.channels.namespaces import Namespaces
from services.edge.channels.node import Node
from services.edge.client_settings import ClientSection
from services.edge.connection.admission import Admission
from services.edge.connection.clock import Clock
from services.edge.connection.connection_log import ConnectionLog
from services.edge.connection.context import EdgeContext
from services.edge.connection.control_handler import ControlHandler
from services.edge.connection.door import CROWD, RESERVED_DESCRIPTORS, Door
from services.edge.connection.drain import Drain
from services.edge.connection.executor import Executor
from services.edge.connection.memory_guard import limits as memory_limits
from services.edge.connection.memory_watch import MemoryWatch
from services.edge.connection.refusal_facts import RefusalFacts
from services.edge.connection.refusal_log import RefusalLog
from services.edge.connection.registry import ConnectionRegistry
from services.edge.connection.single_connection import SingleConnection
from services.edge.edge_settings import MEMORY
from services.edge.instruments.catalog import EDGE_SERIES
from services.edge.instruments.exposition import EdgeMetrics
from services.edge.instruments.failures import FailureMetrics
from services.edge.origins import Origins
from services.edge.server_api.answers import METHODS
from services.edge.server_api.call_failures import CallFailures
from services.edge.server_api.calls_http import ServerApi
from services.edge.server_api.channel_methods import ChannelMethods
from services.edge.server_api.methods import ApiMethods
from services.edge.server_api.user_methods import UserMethods
from services.edge.session.allowances import Allowances
from services.edge.session.policy import CurrentPolicy, Policy
from services.edge.settings import EdgeSettings
from services.edge.tally import Tally
from services.edge.timing_wheel import TICK_S, TimingWheel
from services.edge.tokens.configured_keys import key_sets
from services.edge.tokens.jwks_fetchers import JwksFetchers
from services.edge.transports.client_port import ClientPort
from services.edge.transports.http_streams import client_routes
from services.edge.transports.refused_handshakes import note_refused
from services.edge.transports.websocket import OPENINGS_PER_TURN, UNI_WEBSOCKET_PATH, WEBSOCKET_PATH, WebSocket
from services.edge.turn_queue import TurnQueue

log = logging.getLogger(__name__)

AUDIT_INTERVAL_S: Final = 10.0
"""How long the loss of a channel's last live message can stay unnoticed."""
_CONNECT_IN_ADDRESS: Final = ("sse", "uni_sse", "uni_websocket")
"""Transports whose clients may put their connect, with the positions in all their channels, into the address."""


class Edge:
    """One edge process. Each start makes a new `instance`, by which others notice that an edge was restarted."""

    def __init__(self, settings: EdgeSettings, read: Callable[[], EdgeSettings]) -> None:
        """`read` reads the settings anew, for a reload."""
        self.settings = settings
        self.instance = uuid.uuid4().hex
        self._tracing = Tracing(settings.tracing, "edge", settings.name, self.instance, VERSION)
        tracer = self._tracing.tracer
        clock = Clock()
        tally = Tally()
        namespaces = Namespaces(settings.channel)
        kind = MemoryAdapters if settings.edge.broker == MEMORY else NatsAdapters
        self._adapters: Adapters = kind(
            settings, self.instance, namespaces.history_classes(), clock.now, self._add_load
        )
        adapters = self._adapters
        self._node = Node(
            adapters.broker,
            adapters.join_leave,
            adapters.peers,
            adapters.cluster,
            tally,
            settings.client.recovery_max_publication_limit,
            tracer,
        )
        adapters.cluster.listen(self._node.member_tracker)
        keys = key_sets(settings.client)
        self._fetchers = JwksFetchers(settings.client, keys, clock.now)
        self._backends = ConfiguredBackends(settings, adapters.backend, adapters.link, tally, clock.now, clock.unix)
        backends = self._backends.backends
        registry, refusals = ConnectionRegistry(), RefusalLog(clock.now)
        session_log = adapters.session_log
        version = f"Fairlead {VERSION}"
        self.context = EdgeContext(
            current=CurrentPolicy(
                Policy(
                    settings.client,
                    namespaces,
                    verifier_of(settings, keys),
                    version,
                    self.instance,
                    registry.count_of_user,
                    Allowances(settings.limits, settings.client, settings.channel),
                    clock.ahead,
                    tracer,
                    Origins(settings.client.allowed_origins),
                    kept=kept(settings.client, settings.backends),
                    emulated_headers=wanted_emulated(settings.backends),
                    forms={each.name: form_of(each) for each in settings.backends},
                    user_header=UserHeader(name) if (name := settings.client.user_id_http_header) else None,
                )
            ),
            node=self._node,
            executor=Executor(
                self._node, backends, self._fetchers, refusals, clock, settings.client.rpc_timeout, tally
            ),
            backends=backends,
            registry=registry,
            door=Door(settings.limits, descriptor_limit(), registry.make_room, self._tell_of_crowd),
            admission=Admission(lambda: self._node.available, adapters.cluster.room_elsewhere, adapters.nats_problem),
            refusals=refusals,
            refusal_facts=RefusalFacts(session_log.record, clock.now, clock.unix),
            single_connection=SingleConnection(adapters.peers, refusals),
            connection_log=ConnectionLog(clock.now) if settings.log.connections else None,
            session_log=session_log,
            timing_wheel=TimingWheel(clock.now()),
            turns=Turns(),
            openings=TurnQueue(OPENINGS_PER_TURN),
            clock=clock,
            tally=tally,
        )
        self._control_handler = ControlHandler(self._node, registry, clock.unix, tracer)
        self.drain = Drain(self.context, settings.edge)
        limits = memory_limits(settings.edge.memory_soft_limit, settings.edge.memory_hard_limit, available_bytes())
        self._memory = MemoryWatch(self.context, limits, resident_bytes, give_back, gc.collect)
        self._metrics = EdgeMetrics(
            self.context, self._memory, self.drain, adapters.session_log, adapters.in_flight, adapters.broker_clock
        )
        self._failures = FailureMetrics(
            self.context,
            adapters.broker,
            adapters.in_flight,
            adapters.session_log,
            self._fetchers,
            METHODS,
        )
        api_keys = ApiKeys(settings.http_api)
        self.adoption = Adoption(
            settings,
            self.context.current,
            keys,
            self.context.door,
            adapters,
            self._node,
            api_keys,
            self._backends,
            self._metrics.begin_times,
        )
        self.reloads = Reloads(settings, read, RELOADABLE, self.adoption.adopt)
        length = settings.client.channel_max_length
        channels = ChannelMethods(self._node, lambda: self.context.policy.namespaces, length)
        users = UserMethods(adapters.peers, channels, clock.unix)
        methods = ApiMethods(
            channels,
            users,
            adapters.cluster,
            backends,
            settings.client.rpc_timeout,
            CallFailures(refusals.write, settings.log.api_failures),
            tally,
            tracer,
        )
        self._api = ServerApi(api_keys, methods, methods.counts, methods.failures)
        self._api_calls = adapters.api_calls(methods)

    def turned_away(self, cause: str) -> None:
        """Records that a connection was refused before its request was read."""
        self.context.tally.refused_upgrade(cause)
        note_refused(self.context, 503 if cause == "no_room" else 400, cause)

    def pipelined(self, path: str) -> None:
        """Records that a connection was refused for too many requests at once, the last one to this path."""
        self._api.pipelined(path)

    def application(self) -> Starlette:
        """The application for uvicorn. Its lifespan runs everything, and hands the context to WebSockets."""

        @asynccontextmanager
        async def lifespan(app: Starlette) -> AsyncIterator[dict[str, Any]]:
            work = [self._start(), self._turn_wheel(), self._audit(), self._adapters.watch(), self._memory.run()]
            work.append(self._fetchers.run())
            self._tracing.start()
            self._backends.start()
            tasks = [vital(each) for each in work]
            try:
                yield {"context": self.context}
            finally:
                self._adapters.pulse.last_beat()  # all clients are gone
                await self.reloads.stop()
                await self.adoption.stop()
                await self.context.single_connection.stop()
                await end(tasks)
                await self._api_calls.stop()
                await self._fetchers.close()
                self._adapters.stop()
                await self._node.member_tracker.stop()
                await self._node.sync.stop()
                self._node.parts.stop()
                await self._backends.close()
                await self._adapters.close()
                await self._tracing.stop()

        adapters = self._adapters
        pulse, spans = adapters.pulse, self._tracing.queue
        own = ProcessMetrics(
            "edge", self.settings.name, self.instance, VERSION, pulse.loop_lag, self.reloads, adapters.nats, spans
        )
        registry = own.registry(PageCollector(EDGE_SERIES, self._fill))
        routes = health_routes(self.context.admission.unready, registry, self._remark) + self._api.routes()
        routes += client_routes(self.context, self._adapters.peers, self.settings.edge.max_http_streams)
        routes += [Route(path, _expect_upgrade) for path in (WEBSOCKET_PATH, UNI_WEBSOCKET_PATH)]
        return make_application(routes, lifespan=lifespan)

    def _remark(self) -> str | None:
        lacks = (self._adapters.broker.health.remark(), self._adapters.session_log.problem)
        return "; ".join(lack for lack in lacks if lack is not None) or None

    def _fill(self, page: Page) -> None:
        self._metrics.fill(page)
        self._failures.fill(page)

    async def _start(self) -> None:
        """Connects, makes missing streams, then accepts clients. Waits for NATS without a limit."""
        await self._adapters.start(self._node, self._control_handler.answer)
        self.context.admission.open()
        self.context.session_log.record(EdgeStarted(int(self.context.clock.unix() * 1000), VERSION))
        self._metrics.ready()
        self._api_calls.start()
        section, fields = self.settings.edge, about(instance=self.instance)
        log.info("ready: WebSockets on %s:%d", section.host, section.port, extra=fields)
        await self._adapters.run()

    def room(self) -> int:
        """How many HTTP connections there may be, so that descriptors are left for everything else."""
        websockets = len(self.context.registry) - self.context.registry.streams
        return descriptor_limit() - RESERVED_DESCRIPTORS // 2 - websockets

    def _tell_of_crowd(self, address: str) -> None:
        if not Proxies(self.settings.edge.trusted_proxies).trust(address):
            log.warning(
                "%d clients come from one private address. If it is that of a proxy, name it in "
                "edge.trusted_proxies: until then all its clients share the limits of one address, and those without a "
                "user the limits of one user",
                CROWD,
                extra=about(address=address),
            )

    async def shut_down(self) -> None:
        """Drains. Takes no calls of the server API over NATS from the start; returns once all clients are closed."""
        await asyncio.gather(self._api_calls.leave(self.settings.edge.drain_timeout), self.drain.run())

    async def _turn_wheel(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            self.context.timing_wheel.turn(self.context.clock.now())
            self.context.refusal_facts.sweep()
            self.context.refusals.sweep()
            self._node.channels.sweep()

    async def _audit(self) -> None:
        complaint = Complaint()
        while True:
            await asyncio.sleep(AUDIT_INTERVAL_S)
            if self._node.available:
                try:
                    await self._node.sync.audit()
                except (BrokerAway, BrokerRefused) as error:
                    if complaint.due(str(error), self.context.clock.now()):
                        log.warning("channel audit incomplete, will retry at the next audit: %s", error)

    def _add_load(self, heartbeat: Heartbeat) -> Heartbeat:
        context, tally = self.context, self.context.tally
        load = EdgeLoad(
            connections=len(context.registry),
            users=context.registry.users,
            channels=len(self._node.channels),
            subscriptions=self._node.subscriptions,
            messages_in=tally.messages_in,
            messages_out=tally.messages_out,
            bytes_out=tally.bytes_out,
            publishes=tally.publishes,
            accepted=tally.accepted,
            drain_left=self.drain.left,
        )
        memory = EdgeMemory(used=self._memory.used, limit=self._memory.limits.least)
        return replace(heartbeat, edge=load, memory=memory, has_room=context.admission.has_room)


async def _expect_upgrade(request: Request) -> Response:
    """Answers a plain GET of a WebSocket's address."""
    headers = {"Upgrade": "websocket", "Connection": "Upgrade"}
    return PlainTextResponse("a WebSocket upgrade is expected here\n", status_code=426, headers=headers)


def max_head_bytes(client: ClientSection) -> int:
    """The largest request head: what fits into a message fits into an address, too, where escapes make it longer."""
    in_address = any(transport in client.transports for transport in _CONNECT_IN_ADDRESS)
    return MAX_HEAD_BYTES + (client.message_size_limit * 3 // 2 if in_address else 0)


def serve(settings: EdgeSettings, read: Callable[[], EdgeSettings]) -> None:
    """Runs an edge until a signal, then drains it. `read` reads the settings anew, for a reload."""
    for caution in cautions(settings):
        log.warning("%s", caution)
    edge, section = Edge(settings, read), settings.edge
    ports = {"edge.port": section.port}
    if section.client_port:
        ports["edge.client_port"] = section.client_port
    run(
        ClientPort(edge.application(), section.client_port) if section.client_port else edge.application(),
        host=section.host,
        ports=ports,
        ws=WebSocket,
        before_shutdown=edge.shut_down,
        hung_up=edge.reloads.request,
        max_head_bytes=max_head_bytes(settings.client),
        proxies=Proxies(section.trusted_proxies),
        proxy_protocol_port=section.client_port if section.proxy_protocol else 0,
        room=edge.room,
        turned_away=edge.turned_away,
        pipelined=edge.pipelined,
        gc_thresholds=settings.process.gc_thresholds,
    )
