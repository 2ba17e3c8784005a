"""A fan-out to many subscribers takes several turns of the event loop: each of them gets everything once, in order."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from itertools import pairwise

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from proto import codes
from proto.messages import ClientInfo
from proto.replies import Join, Push
from services.edge.channels import subscribers as subscribers_module
from services.edge.channels.pace import WAITING_BYTES
from services.edge.channels.subscriber import Untaken
from services.edge.channels.subscribers import FEW, Subscribers
from services.edge.channels.subscription import Subscription
from services.edge.channels.turns_pace import TurnsPace
from services.edge.framing.formats import SSE, WEBSOCKET_JSON, WEBSOCKET_PROTOBUF
from services.edge.turn_queue import SECONDS
from tests.edge.channels.test_subscribers import RED, publication, subscription
from tests.support.cluster import FakeSubscriber
from tests.support.eventually import eventually
from tests.support.manual_pace import ManualPace

MANY = 100
Everybody = list[tuple[FakeSubscriber, Subscription]]
LARGE = "x" * subscribers_module.CHANNEL_WAITING_BYTES


def room(
    count: int = MANY, steps: int = 1
) -> tuple[Subscribers, ManualPace, list[tuple[FakeSubscriber, Subscription]]]:
    """A channel with subscribers, and turns in which so many steps are done."""
    pace = ManualPace(steps)
    subscribers = Subscribers("news", pace)
    everybody = [(FakeSubscriber(), subscription()) for _ in range(count)]
    for subscriber, theirs in everybody:
        subscribers.add(subscriber, theirs)
    return subscribers, pace, everybody


def run(pace: ManualPace) -> int:
    """Ends turns until nothing waits; how many."""
    turns = 0
    while not pace.idle:
        pace.end_turn()
        turns += 1
    return turns


class TestSteps:
    def test_many_subscribers_take_several_turns_and_few_do_not(self) -> None:
        subscribers, pace, everybody = room()
        subscribers.fan_out(publication(1), None)
        pace.end_turn()
        have = [bool(each.values) for each, _ in everybody]
        assert 0 < sum(have) < MANY and pace.waiting_bytes
        assert run(pace) > 1
        assert all(each.values == [1] for each, _ in everybody) and not pace.waiting_bytes
        subscribers, pace, everybody = room(FEW, steps=0)
        subscribers.fan_out(publication(1), None)
        pace.end_turn()
        assert all(each.values == [1] for each, _ in everybody) and pace.idle

    def test_large_publications_are_written_to_fewer_at_once(self) -> None:
        subscribers, pace, everybody = room()
        subscribers.fan_out(publication("x" * 60_000), None)
        pace.end_turn()
        assert 0 < sum(bool(each.values) for each, _ in everybody) <= 10

    def test_what_is_published_meanwhile_comes_behind_it(self) -> None:
        subscribers, pace, everybody = room()
        for value in range(5):
            subscribers.fan_out(publication(value), None)
            pace.end_turn()
        run(pace)
        assert all(each.values == [0, 1, 2, 3, 4] for each, _ in everybody)

    def test_of_one_that_leaves_it_takes_what_was_published_before_and_nothing_more(self) -> None:
        subscribers, pace, everybody = room()
        subscribers.fan_out(publication(1), None)
        pace.end_turn()
        subscribers.fan_out(publication(2), None)
        last = everybody[-1][0]
        first = everybody[0][0]
        for each in (first, last):
            subscribers.flush(each)
            assert each.values == [1, 2]
            subscribers.remove(each)
        vanished = everybody[-2][0]
        subscribers.remove(vanished)
        subscribers.fan_out(publication(3), None)
        run(pace)
        assert first.values == last.values == [1, 2] and vanished.values == []
        assert all(each.values == [1, 2, 3] for each, _ in everybody[1:-2])

    def test_one_that_comes_meanwhile_gets_what_is_published_from_then_on(self) -> None:
        subscribers, pace, _ = room()
        subscribers.fan_out(publication(1), None)
        pace.end_turn()
        subscribers.fan_out(publication(2), None)
        comers = [FakeSubscriber(format=each) for each in (WEBSOCKET_JSON, SSE, WEBSOCKET_PROTOBUF)]
        for each in comers:
            subscribers.add(each, subscription())
        subscribers.fan_out(publication(3), None)
        run(pace)
        assert [each.values for each in comers] == [[3], [3], [3]]

    def test_each_knows_up_to_where_it_was_sent_everything(self) -> None:
        subscribers, pace, everybody = room()
        for offset in (11, 12):
            subscribers.fan_out(publication(offset, offset), None, delivered_offset=offset - 1)
            pace.end_turn()
        for each, theirs in everybody:
            assert subscribers.delivered_offset(theirs) == (11 if each.values else 10)
        run(pace)
        assert {subscribers.delivered_offset(theirs) for _, theirs in everybody} == {None}

    def test_one_that_stalls_in_a_write_was_sent_what_is_in_it(self) -> None:
        subscribers, pace, _ = room()
        found: list[int | None] = []

        class Stalls(FakeSubscriber):
            def push(self, framed: bytes, subscription: Subscription, count: int) -> Untaken | None:
                found.append(subscribers.delivered_offset(subscription))
                return None

        subscribers.add(Stalls(), subscription())
        subscribers.fan_out(publication(11, 11), None, delivered_offset=10)
        pace.end_turn()
        subscribers.fan_out(publication(12, 12), None, delivered_offset=11)
        run(pace)
        assert found == [11, None]

    def test_joins_keep_their_place_among_publications(self) -> None:
        subscribers, pace, everybody = room()
        for _, theirs in everybody[::2]:
            theirs.pushes_join_leave = True
        subscribers.fan_out(publication(1), None)
        pace.end_turn()
        subscribers.fan_out_member_event(Push(channel="news", join=Join(ClientInfo(user="1", client="c"))))
        subscribers.fan_out(publication(2), None)
        run(pace)
        for each, theirs in everybody:
            kinds = [next(iter(push.keys() - {"channel"})) for push in each.pushes]
            assert kinds == (["pub", "join", "pub"] if theirs.pushes_join_leave else ["pub", "pub"])

    def test_those_who_have_to_close_are_closed_one_after_the_other_in_turns(self) -> None:
        subscribers, pace, _ = room(0)

        class Slow(FakeSubscriber):
            def push(self, framed: bytes, subscription: Subscription, count: int) -> Untaken | None:
                return Untaken(codes.SLOW, "slow")

            def close(self, close: codes.CloseCode, detail: str = "") -> None:
                pace.has_time()
                super().close(close, detail)

        everybody = [Slow() for _ in range(MANY)]
        for each in everybody:
            subscribers.add(each, subscription())
        subscribers.fan_out(publication(1), None)
        closed = [0]
        while not pace.idle:
            pace.end_turn()
            closed.append(sum(bool(each.closes) for each in everybody))
        assert closed[-1] == MANY and all(after - before <= 1 for before, after in pairwise(closed))


class TestTooMuch:
    def test_it_says_so_and_when_there_is_room_again(self) -> None:
        subscribers, pace, _ = room()
        drained: list[int] = []
        subscribers.when_drained(lambda: drained.append(0))
        assert drained == [0]
        subscribers.fan_out(publication(LARGE), None)
        pace.end_turn()
        subscribers.when_drained(lambda: drained.append(1))
        assert (subscribers.congested, drained) == (True, [0])
        run(pace)
        assert (subscribers.congested, drained) == (False, [0, 1])

    def test_all_channels_share_a_bound(self) -> None:
        _, pace, _ = room()
        other = Subscribers("other", pace)
        for _ in range(MANY):
            other.add(FakeSubscriber(), subscription())
        other.fan_out(publication(1), None)
        other.flush(next(iter(other))[0])
        before = other.congested
        pace.waiting_bytes += WAITING_BYTES
        assert (before, other.congested) == (False, True)

    def test_who_cannot_be_told_all_joins_and_leaves_subscribes_again(self) -> None:
        subscribers, pace, everybody = room()
        everybody[0][1].pushes_join_leave = True
        subscribers.fan_out(publication(LARGE), None)
        pace.end_turn()
        subscribers.fan_out_member_event(Push(channel="news", join=Join(ClientInfo(user="1", client="c"))))
        subscribers.fan_out(publication(2), None)
        run(pace)
        assert everybody[0][0].ended == [("news", codes.UNSUBSCRIBED_INSUFFICIENT_STATE)]
        assert 2 not in everybody[0][0].values and all(each.values == [LARGE, 2] for each, _ in everybody[1:])


class TestEnd:
    def test_those_who_are_chosen_get_nothing_more_and_are_told_in_turns(self) -> None:
        subscribers, pace, everybody = room()
        for _, theirs in everybody[::2]:
            theirs.positioned = True
        subscribers.end(codes.UNSUBSCRIBED_INSUFFICIENT_STATE, lambda theirs: theirs.positioned)
        subscribers.fan_out(publication(1), None)
        changed_its_mind = everybody[0][0]
        subscribers.remove(changed_its_mind)
        subscribers.add(changed_its_mind, subscription())
        run(pace)
        assert changed_its_mind.ended == [] and changed_its_mind.values == []
        for each, theirs in everybody[1:]:
            ended = [("news", codes.UNSUBSCRIBED_INSUFFICIENT_STATE)] if theirs.positioned else []
            assert (each.ended, each.values) == (ended, [] if ended else [1])


async def test_in_between_the_loop_serves_others() -> None:
    now = [0.0]
    subscribers = Subscribers("news", TurnsPace(lambda: now[0]))

    class TakesLong(FakeSubscriber):
        def push(self, framed: bytes, subscription: Subscription, count: int) -> Untaken | None:
            now[0] += SECONDS / 10
            return super().push(framed, subscription, count)

    everybody = [TakesLong() for _ in range(1000)]
    for each in everybody:
        subscribers.add(each, subscription())
    seen: list[float] = []
    subscribers.fan_out(publication(1), None)
    while not all(each.values for each in everybody):
        seen.append(now[0])
        await asyncio.sleep(0)
    assert max(after - before for before, after in pairwise(seen)) < 5 * SECONDS
    await eventually(lambda: all(each.values == [1] for each in everybody))


@dataclass(eq=False)
class Client:
    """A subscriber, and what it has to get."""

    subscriber: FakeSubscriber
    subscription: Subscription
    owed: list[int] = field(default_factory=list)


class FanOut(RuleBasedStateMachine):
    """Publications, turns, and clients that come, leave and are flushed, in any order."""

    @initialize(steps=st.integers(1, 3), count=st.integers(0, 30))
    def begin(self, steps: int, count: int) -> None:
        self.pace = ManualPace(steps)
        self.subscribers = Subscribers("news", self.pace)
        self.clients: list[Client] = []
        self.gone: list[Client] = []
        self.published = 0
        for number in range(count):
            self.come(number)

    @rule(kind=st.integers(0, 3))
    def come(self, kind: int) -> None:
        attributes = {"filter": RED} if kind % 4 == 2 else {"delta": True} if kind % 4 == 3 else {}
        format = WEBSOCKET_PROTOBUF if kind % 2 else WEBSOCKET_JSON
        client = Client(FakeSubscriber(format=format), subscription(**attributes))
        self.subscribers.add(client.subscriber, client.subscription)
        self.clients.append(client)

    @rule(size=st.sampled_from([1, 1, 1, 70_000]))
    def publish(self, size: int) -> None:
        self.published += 1
        tags = {"team": ("red", "blue")[self.published % 2], "t": "x" * size}
        self.subscribers.fan_out(publication(self.published, tags=tags), None)
        for client in self.clients:
            if client.subscription.wants(publication(0, tags=tags)):
                client.owed.append(self.published)

    @rule()
    def end_turn(self) -> None:
        self.pace.end_turn()

    @precondition(lambda self: self.clients)
    @rule(which=st.integers(0))
    def leave(self, which: int) -> None:
        client = self.clients.pop(which % len(self.clients))
        self.subscribers.flush(client.subscriber)
        assert client.subscriber.values == client.owed
        self.subscribers.remove(client.subscriber)
        self.gone.append(client)

    @precondition(lambda self: self.clients)
    @rule(which=st.integers(0))
    def skip(self, which: int) -> None:
        """It has caught up from the log."""
        client = self.clients[which % len(self.clients)]
        self.subscribers.skip(client.subscription)
        client.owed = list(client.subscriber.values)

    @invariant()
    def in_order_and_once(self) -> None:
        for client in [*self.clients, *self.gone]:
            assert client.subscriber.values == client.owed[: len(client.subscriber.values)]

    def teardown(self) -> None:
        if not hasattr(self, "pace"):
            return
        run(self.pace)
        assert all(client.subscriber.values == client.owed for client in [*self.clients, *self.gone])
        assert self.pace.waiting_bytes == 0


TestAnyOrder = FanOut.TestCase
