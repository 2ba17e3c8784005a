"""The adapters between an edge and the systems behind it: one class for each value of `edge.broker`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Protocol

from services.chassis.metrics.process import NatsFigures
from services.chassis.nats.link import NatsLink
from services.chassis.process.heartbeat import Pulse
from services.edge.backend.backend import Backend
from services.edge.broker.broker import Broker
from services.edge.broker.broker_clock import BrokerClock
from services.edge.broker.in_flight import InFlight
from services.edge.channel_settings import ChannelOptions
from services.edge.channels.node import Node
from services.edge.cluster.cluster import Cluster
from services.edge.cluster.join_leave import JoinLeave
from services.edge.cluster.peers import Peers, Responder
from services.edge.server_api.methods import ApiMethods
from services.edge.session_log import SessionLog


class ApiCalls(Protocol):
    """Serves the server API in another way than over HTTP."""

    def start(self) -> None:
        """Takes calls from now on."""

    async def leave(self, within_s: float) -> None:
        """Takes no more calls; returns once those in progress are answered, or after `within_s` seconds."""

    async def stop(self) -> None:
        """Cancels calls that are in progress."""


class Adapters(ABC):
    """Call `start`, `run`, `stop` and `close` once each, in this order. `watch` runs as a task from the beginning.

    `in_flight` counts publishes that wait for the broker; `pulse` sends the edge's heartbeats.
    `nats` is the connection to NATS and `broker_clock` its clock, as metrics report them; None without NATS.
    `link` is the same connection, for backends that have a table.
    """

    broker: Broker
    cluster: Cluster
    peers: Peers
    join_leave: JoinLeave
    backend: Backend
    session_log: SessionLog
    in_flight: InFlight
    pulse: Pulse
    nats: NatsFigures | None
    link: NatsLink | None
    broker_clock: BrokerClock | None

    def nats_problem(self) -> str | None:
        """Why the edge cannot work although it reaches NATS, as its operator reads it; None if it can."""
        return None

    @abstractmethod
    async def start(self, node: Node, responder: Responder) -> None:
        """Connects everything to `node`, and returns when clients may connect. Waits for that without a limit."""

    @abstractmethod
    async def adopt(self, classes: dict[str, ChannelOptions]) -> None:
        """Makes these the namespaces with history. After `BrokerAway` or `BrokerRefused`, nothing has changed."""

    @abstractmethod
    async def watch(self) -> None:
        """Detects which other edges are gone."""

    @abstractmethod
    async def run(self) -> None:
        """Sends heartbeats and stores session events, once started."""

    @abstractmethod
    def stop(self) -> None:
        """Ends what is in progress, and sends the node no more events."""

    @abstractmethod
    async def close(self) -> None:
        """Closes connections. Call it after everything that uses them has ended."""

    @abstractmethod
    def api_calls(self, methods: ApiMethods) -> ApiCalls:
        """Serves the server API in the way that this broker has for it."""
