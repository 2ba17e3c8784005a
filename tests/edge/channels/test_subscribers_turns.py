"""Publications in one turn of the event loop share one frame, which only their speed shows."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from proto.messages import ClientInfo
from proto.replies import Join, Push
from services.edge.channels import subscribers as subscribers_module
from services.edge.channels.subscribers import Subscribers, Untaken
from services.edge.channels.subscription import Subscription
from services.edge.framing.formats import WEBSOCKET_JSON, WEBSOCKET_PROTOBUF
from tests.edge.channels.test_subscribers import LONG, RED, Reader, publication, subscription
from tests.support.cluster import FakeSubscriber


class TestATurnOfTheLoop:
    """Publications of one turn are flushed at its end, or before anything else that subscribers would notice."""

    def made(self) -> tuple[Subscribers, list[Callable[[], None]]]:
        turn: list[Callable[[], None]] = []
        return Subscribers("news", turn.append), turn

    def test_its_publications_come_in_one_frame_in_order(self) -> None:
        subscribers, turn = self.made()
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
        (end_of_turn,) = turn
        assert (frames, subscribers.has_pending) == ([], True)
        end_of_turn()
        assert one.values == two.values == [0, 1, 2] and not subscribers.has_pending
        assert len(frames) == 2 and frames[0] is frames[1], "made once for all"

    def test_a_new_subscriber_does_not_get_earlier_publications(self) -> None:
        subscribers, _ = self.made()
        here, comes = FakeSubscriber(), FakeSubscriber()
        subscribers.add(here, subscription())
        subscribers.fan_out(publication(1), None)
        subscribers.add(comes, subscription())
        assert (here.values, comes.values) == ([1], [])
        subscribers.fan_out(publication(2), None)
        subscribers.flush()
        assert (here.values, comes.values) == ([1, 2], [2])

    def test_joins_keep_their_place_among_publications(self) -> None:
        subscribers, _ = self.made()
        here = FakeSubscriber()
        subscribers.add(here, subscription(pushes_join_leave=True))
        subscribers.fan_out(publication(1), None)
        subscribers.fan_out_member_event(Push(channel="news", join=Join(ClientInfo(user="1", client="c"))))
        assert [next(iter(push.keys() - {"channel"})) for push in here.pushes] == ["pub", "join"]

    @pytest.mark.parametrize("value", ["x" * 1000, "x" * 40_000])
    def test_much_is_not_waited_for(self, value: str) -> None:
        subscribers, turn = self.made()
        here = FakeSubscriber()
        subscribers.add(here, subscription())
        for _ in range(subscribers_module.PENDING_PUBLICATIONS):
            subscribers.fan_out(publication(value), None)
        assert here.values, "without the turn's end"
        for flush in turn:
            flush()
        assert here.values == [value] * subscribers_module.PENDING_PUBLICATIONS

    def test_an_unencodable_publication_does_not_drop_those_before_it(self) -> None:
        subscribers, turn = self.made()
        text, binary = FakeSubscriber(), Reader(WEBSOCKET_PROTOBUF)
        subscribers.add(text, subscription())
        subscribers.add(binary, subscription())
        for value in (1, b"\xff", 3):
            subscribers.fan_out(publication(value), None)
        turn.pop()()
        assert text.values == [1, 3] and text.missed == 1
        assert binary.data == [b"1", b"\xff", b"3"]

    def test_filters_and_differences_hold_within_it(self) -> None:
        subscribers, turn = self.made()
        red, holds, fresh = FakeSubscriber(), Reader(WEBSOCKET_JSON), Reader(WEBSOCKET_JSON)
        subscribers.add(red, subscription(filter=RED))
        subscribers.add(holds, subscription(delta=True))
        before = publication({"n": 0, "text": LONG})
        subscribers.fan_out(before, None)
        turn.pop()()
        subscribers.add(fresh, subscription(delta=True))
        for number, team in ((1, "red"), (2, "blue"), (3, "red")):
            published = publication({"n": number, "text": LONG}, tags={"team": team})
            subscribers.fan_out(published, before)
            before = published
        turn.pop()()
        assert [value["n"] for value in red.values] == [1, 3]
        assert holds.deltas == [False, True, True, True] and fresh.deltas == [False, True, True]
        assert holds.data[1:] == fresh.data and json.loads(fresh.data[-1])["n"] == 3
