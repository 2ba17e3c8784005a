"""The edge's composition root: everything is made and connected here, started and stopped in one lifespan."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from proto import subjects
from proto.telemetry import EdgeLoad
from services.chassis.health import health_routes
from services.chassis.heartbeat import VERSION, Pulse
from services.chassis.link_nats import NatsAway, NatsLink, NatsRefused
from services.chassis.server import run
from services.chassis.tasks import end, vital
from services.edge.api import ServerApi
from services.edge.broker import BrokerAway, BrokerRefused
from services.edge.broker_nats import NatsBroker
from services.edge.client import Policy
from services.edge.cluster import Cluster
from services.edge.connection import WEBSOCKET_PATH, Connection
from services.edge.drain import Drain
from services.edge.hub import Clock, Hub, Origins
from services.edge.instruments import EdgeCollector, make_registry
from services.edge.namespaces import Namespaces
from services.edge.node import Node
from services.edge.session_log_nats import NatsSessionLog
from services.edge.settings import EdgeSettings
from services.edge.tally import Tally
from services.edge.tokens import TokenVerifier
from services.edge.wheel import TICK_S, Wheel

log = logging.getLogger(__name__)

AUDIT_INTERVAL_S: Final = 10.0
"""How long the last message of a channel can stay unnoticed when its live message was lost."""
STRONG_SECRET_BYTES: Final = 32
_START_RETRY_S: Final = 0.5


class Edge:
    """One edge process. `instance` is new at each start, so that a restarted edge is another one in the logs."""

    def __init__(self, settings: EdgeSettings) -> None:
        self.settings = settings
        self.instance = uuid.uuid4().hex
        clock = Clock()
        tally = Tally()
        namespaces = Namespaces(settings.channel)
        self._link = NatsLink(settings.nats, settings.name, self._link_found, self._link_lost)
        self._broker = NatsBroker(
            self._link,
            namespaces.history_classes(),
            settings.channel.history_partitions,
            self.instance,
            settings.edge.max_publishes_in_flight,
        )
        self._session_log = NatsSessionLog(self._link, settings.name, self.instance)
        self._node = Node(self._broker, tally, settings.client.recovery_max_publication_limit)
        verifier = TokenVerifier(settings.client.token_hmac_secret_key, settings.client.insecure)
        self.hub = Hub(
            policy=Policy(settings.client, namespaces, verifier, f"Fairlead {VERSION}"),
            node=self._node,
            tally=tally,
            wheel=Wheel(clock.now()),
            clock=clock,
            session_log=self._session_log,
            origins=Origins(settings.client.allowed_origins),
        )
        self.drain = Drain(self.hub, settings.edge)
        self._cluster = Cluster(clock.now)
        self._pulse = Pulse(self._link, "edge", settings.name, self.instance, self._load)
        self._collector = EdgeCollector(self.hub, self.drain, self._session_log, lambda: self._pulse.loop_lag_s)
        self._api = ServerApi(settings.http_api.key, self._node, namespaces, self._cluster)

    def application(self) -> Starlette:
        """The HTTP side; its lifespan runs everything, and hands the hub to the WebSocket side."""

        @asynccontextmanager
        async def lifespan(app: Starlette) -> AsyncIterator[dict[str, Any]]:
            tasks = [vital(work) for work in (self._start(), self._turn_wheel(), self._audit())]
            try:
                yield {"hub": self.hub}
            finally:
                self._pulse.beat()  # the last word: nobody is here any more
                await end(tasks)
                self._broker.stop()
                await self._node.channels.stop()
                await self._link.close()

        routes = health_routes(self.hub.unready, make_registry(self._collector)) + self._api.routes()
        routes.append(Route(WEBSOCKET_PATH, _expect_upgrade))
        return Starlette(routes=routes, lifespan=lifespan)

    async def _start(self) -> None:
        """Connects, makes what is missing, then lets clients in. Waits for NATS as long as it takes."""
        await self._link.open()
        while True:
            try:
                await asyncio.gather(self._broker.start(self._node.channels), self._session_log.start())
                break
            except (BrokerAway, BrokerRefused, NatsAway, NatsRefused) as error:
                log.warning("the streams are not ready, trying again: %s", error)
                await asyncio.sleep(_START_RETRY_S)
        self._link.listen(
            subjects.telemetry_of("edge"), lambda subject, reply, headers, data: self._cluster.heard(data)
        )
        self.hub.started = True
        log.info("ready: WebSockets on %s:%d", self.settings.edge.host, self.settings.edge.port)
        await asyncio.gather(self._session_log.run(), self._pulse.run())

    async def _turn_wheel(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            self.hub.wheel.turn(self.hub.clock.now())
            self._node.channels.sweep()

    async def _audit(self) -> None:
        while True:
            await asyncio.sleep(AUDIT_INTERVAL_S)
            if self._broker.available:
                try:
                    await self._node.channels.audit()
                except (BrokerAway, BrokerRefused) as error:
                    log.warning("the audit of open channels did not finish: %s", error)

    def _link_found(self) -> None:
        self._broker.link_found()

    def _link_lost(self) -> None:
        self._broker.link_lost()

    def _load(self) -> EdgeLoad:
        hub, tally = self.hub, self.hub.tally
        return EdgeLoad(
            connections=len(hub.connections),
            users=len(hub.users),
            channels=len(self._node.channels),
            subscriptions=hub.subscriptions,
            messages_in=tally.messages_in,
            messages_out=tally.messages_out,
            bytes_out=tally.bytes_out,
            publishes=tally.publishes,
            accepted=tally.accepted,
            drain_left=self.drain.left,
        )


async def _expect_upgrade(request: Request) -> Response:
    """What a plain GET of the WebSocket address gets."""
    headers = {"Upgrade": "websocket", "Connection": "Upgrade"}
    return PlainTextResponse("a WebSocket upgrade is expected here\n", status_code=426, headers=headers)


def serve(settings: EdgeSettings) -> None:
    """Runs an edge until a signal, then drains it."""
    if settings.client.insecure:
        log.warning(
            "client.insecure = true: ANYBODY may connect, subscribe, publish and read history, and tokens do not "
            "expire. This is for tests; never let it face a network."
        )
    if 0 < len(settings.client.token_hmac_secret_key.encode()) < STRONG_SECRET_BYTES:
        log.warning("client.token_hmac_secret_key is shorter than %d bytes (RFC 7518, 3.2)", STRONG_SECRET_BYTES)
    edge = Edge(settings)
    run(edge.application(), host=settings.edge.host, port=settings.edge.port, ws=Connection, goodbye=edge.drain.run)
