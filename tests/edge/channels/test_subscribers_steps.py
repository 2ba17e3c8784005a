"""A fan-out to many subscribers takes several turns of the event loop: each of them gets everything once, in order."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest

from proto import codes
from proto.messages import ClientInfo, FilterNode
from proto.replies import Join, Push
from services.edge.channels.batch import BATCH_BYTES, BATCH_PUSHES
from services.edge.channels.batch_queue import CHANNEL_WAITING_BYTES, OWN_WAITING_BYTES
from services.edge.channels.pace import WAITING_BYTES
from services.edge.channels.subscriber import Untaken
from services.edge.channels.subscribers import FEW, Subscribers
from services.edge.channels.subscription import Subscription
from services.edge.channels.tags_filter import compile_filter
from services.edge.channels.turns_pace import TurnsPace
from services.edge.framing.formats import SSE, WEBSOCKET_JSON, WEBSOCKET_PROTOBUF
from services.edge.turn_queue import SECONDS
from tests.edge.channels.test_subscribers import Reader, publication, subscription
from tests.support.cluster import FakeSubscriber
from tests.support.eventually import eventually
from tests.support.manual_pace import ManualPace

MANY = 100
Everybody = list[tuple[FakeSubscriber, Subscription]]
LARGE = "x" * (2 * CHANNEL_WAITING_BYTES)


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
        told: list[int] = []
        subscribers.when_room(lambda: told.append(0))
        assert told == [0]
        subscribers.fan_out(publication(LARGE), None)
        pace.end_turn()
        subscribers.when_room(lambda: told.append(1))
        assert (subscribers.congested, told) == (True, [0])
        run(pace)
        assert (subscribers.congested, told) == (False, [0, 1])

    def test_there_is_room_again_before_everything_is_written(self) -> None:
        """Otherwise what others publish past the log could hold up those who wait for room for ever."""
        subscribers, pace, everybody = room(steps=8)
        for _ in range(CHANNEL_WAITING_BYTES // 60_000 + 2):
            subscribers.fan_out(publication("x" * 60_000), None)
        told: list[int] = []
        subscribers.when_room(lambda: told.append(len(everybody[-1][0].values)))
        while subscribers.congested:
            pace.end_turn()
        assert told == [pytest.approx(CHANNEL_WAITING_BYTES / 60_000 / 2, abs=4)]

    def test_while_somebody_waits_for_room_no_more_is_taken(self) -> None:
        subscribers, pace, _ = room()
        subscribers.fan_out(publication(1), None)
        pace.end_turn()
        before = subscribers.congested
        subscribers.when_room(lambda: None)
        assert (before, subscribers.congested) == (False, True)

    def test_all_channels_share_a_bound_but_each_may_have_a_little_waiting(self) -> None:
        _, pace, _ = room()
        other = Subscribers("other", pace)
        for _ in range(MANY):
            other.add(FakeSubscriber(), subscription())
        pace.waiting_bytes += WAITING_BYTES
        other.fan_out(publication(1), None)
        pace.end_turn()
        little = other.congested
        for _ in range(OWN_WAITING_BYTES // 60_000 + 2):
            other.fan_out(publication("x" * 60_000), None)
        assert (little, other.congested) == (False, True)

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

    def test_after_that_a_further_one_costs_nothing_until_somebody_comes_who_gets_them(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        subscribers, pace, _ = room()
        ends: list[object] = []
        monkeypatch.setattr(Subscribers, "end", lambda self, why, chosen: ends.append(why))
        subscribers.fan_out(publication(LARGE), None)
        pace.end_turn()
        for number in range(3):
            info = ClientInfo(user=str(number), client="c")
            subscribers.fan_out_member_event(Push(channel="news", join=Join(info)))
        assert len(ends) == 1
        subscribers.add(FakeSubscriber(), subscription(pushes_join_leave=True))
        subscribers.fan_out_member_event(Push(channel="news", join=Join(ClientInfo(user="9", client="c"))))
        assert len(ends) == 2

    def test_publications_alone_end_nobody_who_gets_joins(self) -> None:
        subscribers, pace, everybody = room()
        everybody[0][1].pushes_join_leave = True
        for _ in range(CHANNEL_WAITING_BYTES // 60_000 + 2):
            subscribers.fan_out(publication("x" * 60_000), None)
        congested = subscribers.congested
        subscribers.fan_out_member_event(Push(channel="news", join=Join(ClientInfo(user="1", client="c"))))
        run(pace)
        assert congested and not everybody[0][0].ended and "join" in everybody[0][0].pushes[-1]

    def test_frames_for_one_client_are_not_kept(self) -> None:
        subscribers, _, _ = room(0)
        filters = [compile_filter(FilterNode(key="n", cmp="lt", val=str(n))) for n in range(FEW + 1)]
        everybody = [(FakeSubscriber(), subscription(filter=each)) for each in filters]
        for subscriber, theirs in everybody:
            subscribers.add(subscriber, theirs)
        for value in range(FEW + 1):
            subscribers.fan_out(publication(value, tags={"n": str(value)}), None)
        subscribers.delivered_offset(everybody[0][1])  # nothing is added to the batch any more
        for subscriber, _ in everybody[1:]:
            subscribers.flush(subscriber)
        (batch,) = subscribers._queue.batches  # type: ignore[union-attr]  # what it holds shows nowhere else
        assert batch._encoded == {}
        assert [len(each.values) for each, _ in everybody[1:]] == list(range(1, FEW + 1))


class TestOneClient:
    """What is done for one of them ahead of the others."""

    def test_a_flush_writes_a_bounded_part(self) -> None:
        subscribers, pace, everybody = room()
        for value in range(10):
            subscribers.fan_out(publication("x" * 40_000 + str(value)), None)
        first = everybody[0][0]
        subscribers.flush(first)
        assert len(first.values) == 1 and BATCH_BYTES < 2 * 40_000
        run(pace)
        assert all(len(each.values) == 10 for each, _ in everybody)

    def test_one_that_has_caught_up_still_hears_of_joins_that_wait(self) -> None:
        subscribers, pace, everybody = room()
        one, theirs = everybody[0]
        theirs.pushes_join_leave = True
        subscribers.fan_out(publication(1), None)
        subscribers.fan_out_member_event(Push(channel="news", join=Join(ClientInfo(user="1", client="c"))))
        subscribers.fan_out(publication(2), None)
        subscribers.resume(one, theirs)
        subscribers.fan_out(publication(3), None)
        run(pace)
        assert [push.get("join", push.get("pub", {}).get("data")) for push in one.pushes] == [
            {"info": {"user": "1", "client": "c"}},
            3,
        ]

    def test_the_next_difference_is_not_to_what_it_was_not_sent(self) -> None:
        subscribers, pace, _ = room(0)
        reader = Reader(WEBSOCKET_JSON)
        theirs = subscription(delta=True)
        subscribers.add(reader, theirs)
        one, two, three = (publication({"n": n, "text": "x" * 200}) for n in range(3))
        subscribers.fan_out(one, None)
        run(pace)
        subscribers.fan_out(two, one)
        subscribers.resume(reader, theirs)
        subscribers.fan_out(three, two)
        run(pace)
        assert reader.deltas == [False, False]

    def test_those_with_filters_are_few_in_each_step(self) -> None:
        subscribers, pace, _ = room(0)
        asked = [0]

        def counted(tags: dict[str, str]) -> bool:
            asked[0] += 1
            return True

        for _ in range(MANY):
            subscribers.add(FakeSubscriber(), subscription(filter=counted))
        for value in range(BATCH_PUSHES):
            subscribers.fan_out(publication(value), None)
        pace.end_turn()
        assert 0 < asked[0] <= 2 * BATCH_PUSHES


class TestAFaultInAWrite:
    async def test_those_it_concerns_come_back_and_the_others_get_everything(self) -> None:
        subscribers, pace, everybody = room()

        class Raises(FakeSubscriber):
            def push(self, framed: bytes, subscription: Subscription, count: int) -> Untaken | None:
                raise MemoryError

        bad = Raises()
        subscribers.add(bad, subscription())
        for value in range(3):
            subscribers.fan_out(publication(value), None)
            pace.end_turn()
        run(pace)
        assert bad.closed_by == [codes.INTERNAL_CLOSE.code]
        concerned = [each for each, _ in everybody if each.closes]
        assert len(concerned) < 32 and all(each.closed_by == [codes.INTERNAL_CLOSE.code] for each in concerned)
        assert all(each.values == [0, 1, 2] for each, _ in everybody if not each.closes)
        assert pace.waiting_bytes == 0


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
