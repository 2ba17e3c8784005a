"""Publications in one turn of the event loop share one frame, which only their speed shows."""

from __future__ import annotations

import json

import pytest

from proto.messages import ClientInfo
from proto.replies import Join, Push
from services.edge.channels.batch import BATCH_BYTES, BATCH_PUSHES
from services.edge.channels.subscriber import Untaken
from services.edge.channels.subscribers import Subscribers
from services.edge.channels.subscription import Subscription
from services.edge.framing.formats import WEBSOCKET_JSON, WEBSOCKET_PROTOBUF
from tests.edge.channels.test_subscribers import LONG, RED, Reader, publication, subscription
from tests.support.cluster import FakeSubscriber
from tests.support.manual_pace import ManualPace


class TestATurnOfTheLoop:
    """Publications of one turn are flushed at its end, or before anything else that subscribers would notice."""

    def made(self) -> tuple[Subscribers, ManualPace]:
        pace = ManualPace()
        return Subscribers("news", pace), pace

    def test_its_publications_come_in_one_frame_in_order(self) -> None:
        subscribers, pace = self.made()
        frames: list[bytes] = []

        class Counting(FakeSubscriber):
            def push(self, framed: bytes, subscription: Subscription, count: int) -> Untaken | None:
                frames.append(framed)
                assert count == 3
                return super().push(framed, subscription, count)

        one, two = Counting(), Counting()
        subscribers.add(one, subscription())
        subscribers.add(two, subscription())
        for value in range(3):
            subscribers.fan_out(publication(value), None)
        assert frames == []
        pace.end_turn()
        assert one.values == two.values == [0, 1, 2] and pace.waiting_bytes == 0
        assert len(frames) == 2 and frames[0] is frames[1], "made once for all"

    def test_a_new_subscriber_does_not_get_earlier_publications(self) -> None:
        subscribers, pace = self.made()
        here, comes = FakeSubscriber(), FakeSubscriber()
        subscribers.add(here, subscription())
        subscribers.fan_out(publication(1), None)
        subscribers.add(comes, subscription())
        subscribers.fan_out(publication(2), None)
        pace.end_turn()
        assert (here.values, comes.values) == ([1, 2], [2])

    def test_joins_keep_their_place_among_publications(self) -> None:
        subscribers, pace = self.made()
        here = FakeSubscriber()
        subscribers.add(here, subscription(pushes_join_leave=True))
        subscribers.fan_out(publication(1), None)
        subscribers.fan_out_member_event(Push(channel="news", join=Join(ClientInfo(user="1", client="c"))))
        subscribers.fan_out(publication(2), None)
        pace.end_turn()
        assert [next(iter(push.keys() - {"channel"})) for push in here.pushes] == ["pub", "join", "pub"]

    def test_joins_and_leaves_of_one_turn_share_a_frame(self) -> None:
        subscribers, pace = self.made()
        frames: list[int] = []

        class Counting(FakeSubscriber):
            def push_member_events(self, channel: str, framed: bytes, count: int) -> Untaken | None:
                frames.append(count)
                return super().push_member_events(channel, framed, count)

        here = Counting()
        subscribers.add(here, subscription(pushes_join_leave=True))
        for number in range(BATCH_PUSHES + 1):
            info = ClientInfo(user=str(number), client="c")
            subscribers.fan_out_member_event(Push(channel="news", join=Join(info)))
        pace.end_turn()
        assert [push["join"]["info"]["user"] for push in here.pushes] == [str(n) for n in range(BATCH_PUSHES + 1)]
        assert frames == [BATCH_PUSHES, 1]

    @pytest.mark.parametrize("value", ["x" * 1000, "x" * 40_000])
    def test_a_frame_does_not_grow_without_bound(self, value: str) -> None:
        subscribers, pace = self.made()
        frames: list[bytes] = []

        class Measuring(FakeSubscriber):
            def push(self, framed: bytes, subscription: Subscription, count: int) -> Untaken | None:
                frames.append(framed)
                return super().push(framed, subscription, count)

        here = Measuring()
        subscribers.add(here, subscription())
        for _ in range(BATCH_PUSHES + 1):
            subscribers.fan_out(publication(value), None)
        pace.end_turn()
        assert here.values == [value] * (BATCH_PUSHES + 1)
        assert max(map(len, frames)) < 1.1 * BATCH_BYTES

    def test_an_unencodable_publication_does_not_drop_those_before_it(self) -> None:
        subscribers, pace = self.made()
        text, binary = FakeSubscriber(), Reader(WEBSOCKET_PROTOBUF)
        subscribers.add(text, subscription())
        subscribers.add(binary, subscription())
        for value in (1, b"\xff", 3):
            subscribers.fan_out(publication(value), None)
        pace.end_turn()
        assert text.values == [1, 3] and text.missed == 1
        assert binary.data == [b"1", b"\xff", b"3"]

    def test_filters_and_differences_hold_within_it(self) -> None:
        subscribers, pace = self.made()
        red, holds, fresh = FakeSubscriber(), Reader(WEBSOCKET_JSON), Reader(WEBSOCKET_JSON)
        subscribers.add(red, subscription(filter=RED))
        subscribers.add(holds, subscription(delta=True))
        before = publication({"n": 0, "text": LONG})
        subscribers.fan_out(before, None)
        pace.end_turn()
        subscribers.add(fresh, subscription(delta=True))
        for number, team in ((1, "red"), (2, "blue"), (3, "red")):
            published = publication({"n": number, "text": LONG}, tags={"team": team})
            subscribers.fan_out(published, before)
            before = published
        pace.end_turn()
        assert [value["n"] for value in red.values] == [1, 3]
        assert holds.deltas == [False, True, True, True] and fresh.deltas == [False, True, True]
        assert holds.data[1:] == fresh.data and json.loads(fresh.data[-1])["n"] == 3
