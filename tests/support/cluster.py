"""Edges without sockets for unit tests: nodes on the in-memory broker, and subscribers that keep what they get."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from msgspec import Raw

from proto.codes import ErrorCode, UnsubscribeCode
from proto.messages import Command, Publication, StreamPosition, SubscribeResult
from services.chassis.settings import Duration
from services.edge.actions import Subscribe
from services.edge.broker_memory import MemoryBroker, MemoryCluster
from services.edge.channel import Channel
from services.edge.namespaces import Namespaces, Rules
from services.edge.node import Node
from services.edge.settings import ChannelOptions, ChannelSection, Namespace
from services.edge.tally import Tally

HOUR = Duration(3600)
SECTION = ChannelSection(
    namespaces=[
        Namespace(name="chat", history_size=10, history_ttl=HOUR, force_recovery=True),
        Namespace(name="news", history_size=5000, history_ttl=HOUR, force_recovery=True),
        Namespace(name="live"),
    ]
)
NAMESPACES = Namespaces(SECTION)


def rules_of(channel: str) -> Rules:
    rules = NAMESPACES.rules(channel)
    assert isinstance(rules, Rules)
    return rules


def classes() -> dict[str, ChannelOptions]:
    return NAMESPACES.history_classes()


@dataclass(eq=False)
class FakeSubscriber:
    """Keeps its pushes as decoded JSON."""

    pushes: list[dict[str, Any]] = field(default_factory=list)
    ended: list[tuple[str, UnsubscribeCode]] = field(default_factory=list)
    node: Node | None = None

    def push(self, framed: bytes, channel: Channel) -> None:
        self.pushes.append(json.loads(framed[framed.index(b"{") :])["push"])

    def end_subscription(self, channel: str, why: UnsubscribeCode) -> None:
        self.ended.append((channel, why))
        if self.node is not None:
            self.node.unsubscribe(self, channel)

    @property
    def values(self) -> list[Any]:
        return [push["pub"]["data"] for push in self.pushes]

    @property
    def offsets(self) -> list[int]:
        return [push["pub"]["offset"] for push in self.pushes]


class TestEdge:
    """One edge: a node on a memory broker."""

    __test__ = False

    def __init__(self, cluster: MemoryCluster) -> None:
        self.broker = MemoryBroker(cluster)
        self.tally = Tally()
        self.node = Node(self.broker, self.tally)

    async def start(self) -> TestEdge:
        await self.broker.start(self.node.channels)
        return self

    async def publish(self, channel: str, value: object) -> StreamPosition | None:
        data = Publication(data=Raw(json.dumps(value).encode()))
        return await self.node.publish(channel, rules_of(channel), data)

    async def subscribe(
        self, channel: str, recover: StreamPosition | None = None, reject: bool = False
    ) -> tuple[FakeSubscriber, SubscribeResult]:
        subscriber = FakeSubscriber(node=self.node)
        result = await self.node.subscribe(subscriber, wish(channel, recover, reject))
        assert not isinstance(result, ErrorCode), result
        return subscriber, result


def wish(channel: str, recover: StreamPosition | None = None, reject: bool = False) -> Subscribe:
    rules = rules_of(channel)
    return Subscribe(Command(id=1), channel, rules, rules.has_history, rules.has_history, recover, reject)
