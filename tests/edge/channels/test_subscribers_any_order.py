"""Whatever happens in whatever order while batches wait: each client gets everything once, in order."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from proto.messages import Publication
from services.edge.channels.subscribers import Subscribers
from services.edge.channels.subscription import Subscription
from services.edge.framing.formats import WEBSOCKET_JSON, WEBSOCKET_PROTOBUF
from tests.edge.channels.test_subscribers import RED, Reader, publication, subscription
from tests.support.manual_pace import ManualPace


@dataclass(eq=False)
class Client:
    """A subscriber, and what it has to get."""

    reader: Reader
    subscription: Subscription
    owed: list[bytes] = field(default_factory=list)


class FanOut(RuleBasedStateMachine):
    """Publications, turns, and clients that come, leave, are flushed, and catch up from the log, in any order."""

    @initialize(steps=st.integers(1, 3), count=st.integers(0, 30))
    def begin(self, steps: int, count: int) -> None:
        self.pace = ManualPace(steps)
        self.subscribers = Subscribers("news", self.pace)
        self.clients: list[Client] = []
        self.gone: list[Client] = []
        self.published: list[Publication] = []
        for number in range(count):
            self.come(number % 4)

    @rule(kind=st.integers(0, 3))
    def come(self, kind: int) -> None:
        attributes = {"filter": RED} if kind > 1 else {"delta": True}
        reader = Reader((WEBSOCKET_JSON, WEBSOCKET_PROTOBUF)[kind % 2], plain=kind > 1)
        client = Client(reader, subscription(**attributes))
        self.subscribers.add(client.reader, client.subscription)
        self.clients.append(client)

    @rule(size=st.sampled_from([100, 100, 100, 70_000]))
    def publish(self, size: int) -> None:
        number = len(self.published)
        made = publication({"n": number, "text": "x" * size}, tags={"team": ("red", "blue")[number % 2]})
        self.subscribers.fan_out(made, self.published[-1] if self.published else None)
        self.published.append(made)
        for client in self.clients:
            if client.subscription.wants(made):
                client.owed.append(bytes(made.data))

    @rule()
    def end_turn(self) -> None:
        self.pace.end_turn()

    @precondition(lambda self: self.clients)
    @rule(which=st.integers(0), at_once=st.booleans())
    def leave(self, which: int, at_once: bool) -> None:
        client = self.clients.pop(which % len(self.clients))
        if not at_once:
            self.subscribers.flush(client.reader)
        self.subscribers.remove(client.reader)
        client.owed = list(client.reader.data)
        self.gone.append(client)

    @precondition(lambda self: self.clients)
    @rule(which=st.integers(0))
    def resume(self, which: int) -> None:
        """It has caught up from the log."""
        client = self.clients[which % len(self.clients)]
        client.reader.data += client.owed[len(client.reader.data) :]
        self.subscribers.resume(client.reader, client.subscription)

    @rule()
    def forget(self) -> None:
        self.subscribers.forget_bases()

    @invariant()
    def in_order_and_once(self) -> None:
        for client in [*self.clients, *self.gone]:
            assert client.reader.data == client.owed[: len(client.reader.data)]

    def teardown(self) -> None:
        if not hasattr(self, "pace"):
            return
        while not self.pace.idle:
            self.pace.end_turn()
        assert all(client.reader.data == client.owed for client in [*self.clients, *self.gone])
        assert self.pace.waiting_bytes == 0


TestAnyOrder = FanOut.TestCase
