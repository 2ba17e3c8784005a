"""Edges without sockets for unit tests: everything of an edge but its adapters, which are the in-memory ones."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from msgspec import Raw

from proto.codes import CloseCode, UnsubscribeCode
from proto.control import ControlAnswer, ControlRequest
from proto.events import SessionEvent, encode_fact
from proto.events_upcasting import FACTS
from proto.messages import NO_DATA, ClientInfo, Publication, StreamPosition
from proto.replies import SubscribeResult
from proto.trace_context import TraceContext
from services.chassis.process.turns import Turns
from services.chassis.tracing.span import Attributes, Tracer
from services.edge.backend.backends import Backends
from services.edge.channel_settings import ChannelSection
from services.edge.channels.node import Node
from services.edge.channels.subscriber import SKIPPED, Untaken
from services.edge.channels.subscription import AttachRequest, Subscription
from services.edge.client_settings import ClientSection
from services.edge.cluster.cluster import Cluster
from services.edge.cluster.join_leave_memory import MemoryJoinLeave
from services.edge.connection.admission import Admission
from services.edge.connection.clock import Clock
from services.edge.connection.context import EdgeContext
from services.edge.connection.control_handler import ControlHandler
from services.edge.connection.door import Door
from services.edge.connection.executor import Executor, KeyLookup, NoKeyLookup
from services.edge.connection.refusal_facts import RefusalFacts
from services.edge.connection.refusal_log import RefusalLog
from services.edge.connection.registry import ConnectionRegistry
from services.edge.connection.single_connection import SingleConnection
from services.edge.framing.formats import WEBSOCKET_JSON, Format
from services.edge.grants import Grant
from services.edge.hook_settings import NATS
from services.edge.limit_settings import NO_LIMITS, LimitsSection
from services.edge.origins import Origins
from services.edge.session.allowances import Allowances
from services.edge.session.policy import CurrentPolicy, Policy
from services.edge.tally import Tally
from services.edge.timing_wheel import TimingWheel
from services.edge.tokens.configured_keys import configured_keys
from services.edge.tokens.tokens import TokenVerifier
from services.edge.turn_queue import TurnQueue
from tests.support.breakable import BreakableBroker, BreakableJoinLeave, BreakableLogs, BreakablePeers, PeersCluster
from tests.support.function_backend import FunctionBackend
from tests.support.namespaces import NAMESPACES, rules_of
from tests.support.transport import pushes_in

START = 1_767_225_600.0


class EdgeCluster(BreakableLogs):
    """The shared part of the edges of one cluster: the logs of channels, joins and leaves, and each other."""

    def __init__(self, now: Callable[[], float] = lambda: 1000.0) -> None:
        super().__init__(NAMESPACES.history_classes(), now)
        self.peers = PeersCluster()
        self.all_edges: list[MemoryJoinLeave] = []


class FakeClock(Clock):
    """Clocks that the test moves: the edge's own `time`, and the wall clock, which is `ahead_s` of that."""

    def __init__(self) -> None:
        self.time = START
        self.ahead_s = 0.0

    def now(self) -> float:
        return self.time

    def unix(self) -> float:
        return self.time + self.ahead_s


@dataclass
class SessionRecord:
    """A session log that is read by the test. Every fact has to be one that the sessions service can read."""

    events: list[SessionEvent] = field(default_factory=list)
    traces: list[TraceContext | None] = field(default_factory=list)
    waiting = stored = dropped = 0
    oldest_at = problem = None

    def record(self, event: SessionEvent, trace: TraceContext | None = None) -> None:
        assert FACTS.read(encode_fact(event)) == event
        self.events.append(event)
        self.traces.append(trace)

    async def flush(self, timeout_s: float) -> bool:
        return True


@dataclass(eq=False)
class FakeSubscriber:
    """Keeps its pushes, decoded, and the ends of its subscriptions. `takes` False: it is slow. `missed` counts what its
    encoding cannot carry."""

    pushes: list[dict[str, Any]] = field(default_factory=list)
    ended: list[tuple[str, UnsubscribeCode]] = field(default_factory=list)
    node: Node | None = None
    format: Format = WEBSOCKET_JSON
    takes: bool = True
    closed: bool = False
    closes: list[tuple[CloseCode, str]] = field(default_factory=list)
    missed: int = 0

    @property
    def owner(self) -> FakeSubscriber:
        return self

    def push(self, framed: bytes, subscription: Subscription, count: int) -> Untaken | None:
        if not self.takes:
            return SKIPPED
        self.pushes += pushes_in(self.format, framed)
        return None

    def push_member_events(self, channel: str, framed: bytes, count: int) -> Untaken | None:
        self.pushes += pushes_in(self.format, framed)
        return None

    def left_out(self, count: int) -> None:
        self.missed += count

    def close(self, close: CloseCode, detail: str = "") -> None:
        self.closes.append((close, detail))

    def labels(self) -> tuple[str, str]:
        return "fake", "other"

    def described(self) -> Attributes:
        return {"fairlead.client": "fake"}

    def end_subscription(self, channel: str, why: UnsubscribeCode) -> None:
        self.ended.append((channel, why))
        if self.node is not None:
            self.node.unsubscribe(self, channel)

    @property
    def closed_by(self) -> list[int]:
        """The codes with which the channel closed it."""
        return [close.code for close, _ in self.closes]

    @property
    def values(self) -> list[Any]:
        return [push["pub"]["data"] for push in self.pushes]

    @property
    def offsets(self) -> list[int]:
        return [push["pub"]["offset"] for push in self.pushes]

    @property
    def members(self) -> list[tuple[str, str]]:
        """The joins and leaves that it received, as ("join", client)."""
        told = [(kind, push[kind]) for push in self.pushes for kind in ("join", "leave") if kind in push]
        return [(kind, event["info"]["client"]) for kind, event in told]


async def settled() -> None:
    """Returns when no message between edges in memory is on its way: each step takes a turn of the loop."""
    for _ in range(50):
        await asyncio.sleep(0)


class TestEdge:
    """One edge: a context and a node on a memory broker."""

    __test__ = False

    def __init__(
        self,
        cluster: EdgeCluster,
        *,
        backend: FunctionBackend | None = None,
        keys: KeyLookup | None = None,
        recovery_limit: int = 0,
        admits: bool = True,
        limits: LimitsSection = NO_LIMITS,
        tracer: Tracer | None = None,
        **section: Any,
    ) -> None:
        self.shared = cluster
        self.broker = BreakableBroker(cluster)
        self.join_leave = BreakableJoinLeave(cluster.all_edges)
        self.cluster = Cluster(lambda: 0.0, f"edge-{len(cluster.all_edges)}")
        self.peers = BreakablePeers(cluster.peers, self.cluster)
        self.tally = Tally()
        self.node = Node(self.broker, self.join_leave, self.peers, self.cluster, self.tally, recovery_limit, tracer)
        self.cluster.listen(self.node.member_tracker)
        options = ClientSection(**({"insecure": True} | section))
        self.key_set = configured_keys(options)
        verifier = TokenVerifier(self.key_set, insecure=options.insecure)
        self.clock = FakeClock()
        self.sessions = SessionRecord()
        self.backend = backend or FunctionBackend()
        backends = Backends({NATS: self.backend})
        registry, clock = ConnectionRegistry(), self.clock
        refusals = RefusalLog(clock.now)
        self.context = EdgeContext(
            current=CurrentPolicy(
                Policy(
                    options,
                    NAMESPACES,
                    verifier,
                    "Fairlead test",
                    self.instance,
                    registry.count_of_user,
                    Allowances(limits, options, ChannelSection()),
                    clock.ahead,
                    tracer,
                    Origins(options.allowed_origins),
                )
            ),
            node=self.node,
            executor=Executor(
                self.node, backends, keys or NoKeyLookup(), refusals, clock, options.rpc_timeout, self.tally
            ),
            backends=backends,
            registry=registry,
            door=Door(limits, 2**20, registry.make_room),
            admission=Admission(lambda: self.node.available, self.cluster.room_elsewhere),
            refusals=refusals,
            refusal_facts=RefusalFacts(self.sessions.record, clock.now, clock.unix),
            single_connection=SingleConnection(self.peers, refusals),
            connection_log=None,
            session_log=self.sessions,
            timing_wheel=TimingWheel(START),
            turns=Turns(self.clock.now),
            openings=TurnQueue(1000, self.clock.now),
            clock=self.clock,
            tally=self.tally,
        )
        if admits:
            self.context.admission.open()
        self.control_handler = ControlHandler(self.node, registry, self.clock.unix, tracer)
        self.asked: list[ControlRequest] = []
        self.when_asked: Callable[[ControlRequest], object] = lambda request: None  # called before it answers

    @property
    def instance(self) -> str:
        return self.cluster.own

    async def start(self) -> TestEdge:
        await self.broker.start(self.node.sync)
        self.join_leave.start(self.node.member_tracker)
        await self.peers.start(self._answer)
        return self

    def _answer(self, request: ControlRequest, cause: TraceContext | None) -> ControlAnswer | Awaitable[ControlAnswer]:
        self.asked.append(request)
        self.when_asked(request)
        return self.control_handler.answer(request, cause)

    def kill(self) -> None:
        """Ends the edge at once, without a drain."""
        self.broker.available = False
        self.shared.all_edges.remove(self.join_leave)
        self.shared.peers.kill(self.instance)

    async def publish(self, channel: str, value: object, **more: Any) -> StreamPosition:
        """The position, 0 without history. `more` are fields of the publication."""
        data = Publication(data=Raw(json.dumps(value).encode()), **more)
        return await self.node.publish(channel, rules_of(channel), data) or StreamPosition()

    async def publish_unheard(self, channel: str, value: object) -> StreamPosition:
        """The same, but this edge does not receive the live message: it finds the gap at the next one."""
        self.broker.lose_live = lambda message: True
        try:
            return await self.publish(channel, value)
        finally:
            self.broker.lose_live = lambda message: False

    async def subscribe(
        self, channel: str, recover: StreamPosition | None = None, reject: bool = False, **wishes: Any
    ) -> tuple[FakeSubscriber, SubscribeResult]:
        """See `attach_request`. Publishes the subscriber's join, as a connection does."""
        subscriber = FakeSubscriber(node=self.node, format=wishes.pop("format", WEBSOCKET_JSON))
        wanted = attach_request(channel, recover, reject, **wishes)
        result, _ = await self.node.subscribe(subscriber, wanted)
        self.node.announce(channel, wanted.subscription)
        return subscriber, result


def attach_request(
    channel: str,
    recover: StreamPosition | None = None,
    reject: bool = False,
    client: str = "c1",
    user: str = "42",
    grant: Grant = Grant(),  # noqa: B008 - frozen
    **wishes: Any,
) -> AttachRequest:
    """A subscribe of `client`. `wishes` are attributes of its subscription, such as `delta` and `filter`."""
    subscription = Subscription(rules_of(channel), grant, ClientInfo(user=user, client=client, chan_info=grant.info))
    subscription.positioned = subscription.positioned or subscription.recoverable
    for name, value in wishes.items():
        setattr(subscription, name, value)
    return AttachRequest(1, channel, subscription, NO_DATA, recover, reject)
