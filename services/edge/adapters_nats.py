"""The adapters of an edge on NATS (`edge.broker = "nats"`): all of them share one link."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from proto import subjects
from services.chassis.nats.link import NatsAway, NatsLink, NatsRefused, NobodyAnswers
from services.chassis.process.complaint import Complaint
from services.chassis.process.heartbeat import AddFigures, Pulse
from services.chassis.process.tasks import Tasks
from services.edge.adapters import Adapters
from services.edge.backend.backend_nats import NatsBackend
from services.edge.broker.broker import BrokerAway, BrokerRefused
from services.edge.broker.broker_nats import NatsBroker
from services.edge.broker.left_streams_nats import warn_of_left_streams
from services.edge.channel_settings import ChannelOptions
from services.edge.channels.node import Node
from services.edge.cluster.cluster import Cluster
from services.edge.cluster.failure_detector_nats import FailureDetector
from services.edge.cluster.join_leave_nats import NatsJoinLeave
from services.edge.cluster.peers import Responder
from services.edge.cluster.peers_nats import NatsPeers
from services.edge.server_api.calls_nats import NatsApi
from services.edge.server_api.methods import ApiMethods
from services.edge.session_log_nats import NatsSessionLog
from services.edge.settings import EdgeSettings

log = logging.getLogger(__name__)

_START_RETRY_S: Final = 0.5
_FORBIDDEN_RETRY_S: Final = 5.0
"""The longest pause between attempts at what NATS does not permit: it refuses at once, and logs each refusal."""


class NatsAdapters(Adapters):
    """The adapters on one link to NATS. `classes` are the namespaces with history; `add_load` adds the edge's figures
    to heartbeats.
    """

    def __init__(
        self,
        settings: EdgeSettings,
        instance: str,
        classes: dict[str, ChannelOptions],
        now: Callable[[], float],
        add_load: AddFigures,
    ) -> None:
        self._tasks = Tasks()
        self._link = NatsLink(
            settings.nats, settings.name, self._on_connected, self._on_disconnected, subjects.inbox_prefix("edge")
        )
        self.broker = self._broker = NatsBroker(
            self._link,
            classes,
            settings.channel.history_partitions,
            instance,
            settings.edge.max_publishes_in_flight,
        )
        self.nats = self.link = self._link
        self.in_flight = self._broker.in_flight
        self.broker_clock = self._broker.clock.clock
        self.session_log = self._session_log = NatsSessionLog(self._link, settings.name, instance)
        self.backend = NatsBackend(self._link)
        self.cluster = Cluster(now, instance)
        self.pulse = Pulse(self._link, "edge", settings.name, instance, add_load)
        self._failure_detector = FailureDetector(self._link, self.cluster, self.pulse.beat)
        self._waits_for = ""  # why the edge has not started yet
        self.peers = self._peers = NatsPeers(self._link, self._failure_detector)
        self.join_leave = self._join_leave = NatsJoinLeave(self._link, instance)

    def nats_problem(self) -> str | None:
        if self._link.problem is not None or not self._waits_for or not self._link.is_connected:
            return self._link.problem
        return f"starting: {self._waits_for}"

    async def start(self, node: Node, responder: Responder) -> None:
        await self._link.open()
        self._join_leave.start(node.member_tracker)
        await self._peers.start(responder)
        # The roll call of other edges (50 ms) and the making of streams only wait, so they run together.
        await asyncio.gather(self._ensure_streams(node), self._failure_detector.start())

    async def _ensure_streams(self, node: Node) -> None:
        complaint = Complaint()
        wait_s = _START_RETRY_S
        while True:
            try:
                await asyncio.gather(self._broker.start(node.sync), self._ensure_session_log())
                self._waits_for = ""
                return
            except (BrokerAway, BrokerRefused, NatsRefused) as error:
                self._waits_for = text = str(error) if isinstance(error, NatsRefused) else error.for_log
                if complaint.due(text, asyncio.get_running_loop().time()):
                    log.warning("streams not ready, retrying: %s", text)
                forbidden = isinstance(error, BrokerAway) and error.cause == "refused"
                wait_s = min(2 * wait_s, _FORBIDDEN_RETRY_S) if forbidden else _START_RETRY_S
                await asyncio.sleep(wait_s)

    async def _ensure_session_log(self) -> None:
        """If its stream does not answer, the edge is ready without it, and session events wait."""
        try:
            await self._session_log.start()
        except NatsAway as error:
            log.debug("the session log waits: %s", error)

    async def adopt(self, classes: dict[str, ChannelOptions]) -> None:
        if not self._link.is_connected:
            raise BrokerAway("NATS is unavailable")
        if not self._broker.available:
            raise BrokerAway("the present ones are not ready yet; try again when the edge is")
        try:
            gone = await self._broker.classes.adopt(classes)
        except NobodyAnswers:
            raise BrokerAway("a stream has no leader, so nobody answers; /readyz names those that are shut") from None
        except NatsAway as error:
            raise BrokerAway(str(error), error.cause) from None
        except NatsRefused as error:
            raise BrokerRefused(str(error), error.cause) from None
        if gone:
            self._tasks.start(warn_of_left_streams(self._link, classes))

    async def watch(self) -> None:
        await self._failure_detector.watch()

    async def run(self) -> None:
        await asyncio.gather(self._session_log.run(), self.pulse.run(), self._broker.clock.run())

    def stop(self) -> None:
        self._tasks.cancel()
        self._peers.stop()
        self._failure_detector.stop()
        self._broker.stop()

    async def close(self) -> None:
        await self._link.close()

    def api_calls(self, methods: ApiMethods) -> NatsApi:
        return NatsApi(self._link, methods)

    def _on_connected(self) -> None:
        self._broker.on_link(connected=True)
        self._failure_detector.on_connected()
        self.pulse.beat()  # at once, so that the others need not wait for the next one

    def _on_disconnected(self) -> None:
        self._broker.on_link(connected=False)
        self._failure_detector.on_disconnected()
