"""The outlet of one client, without a connection: frames written and counted, skipped, or too many."""

from __future__ import annotations

import asyncio
import json

import pytest
from msgspec import Raw

from proto import codes
from proto.messages import ClientInfo, Error, Publication
from proto.replies import AsyncMessage, HistoryResult, Push, Reply, UnsubscribeResult, reply_to
from services.edge.channels.subscriber import SKIPPED
from services.edge.channels.subscription import Subscription
from services.edge.connection import slow_consumer
from services.edge.connection.outlet import JOINED_BYTES, Outlet
from services.edge.connection.slow_consumer import SlowConsumer
from services.edge.framing.formats import WEBSOCKET_JSON
from services.edge.framing.wire import PING
from services.edge.grants import Grant
from tests.support.cluster import START, EdgeCluster, FakeSubscriber, TestEdge
from tests.support.namespaces import rules_of
from tests.support.transport import FakeTransport, frames_in


class Client:
    """An outlet, and the frames on its transport."""

    def __init__(self) -> None:
        self.edge = TestEdge(EdgeCluster())
        self.tally = self.edge.tally
        self.transport = FakeTransport()
        self.outlet = Outlet(FakeSubscriber(), self.transport, WEBSOCKET_JSON, self.tally)

    def slow(self, connecting: bool = False) -> SlowConsumer:
        """From now on the client takes nothing."""
        slow = SlowConsumer(self.outlet, self.edge.node, {}, self.tally, close_delay_s=30, connecting=connecting)
        self.outlet.hold_back(slow)
        return slow

    @property
    def heard(self) -> list[dict[str, object]]:
        return self.transport.messages


@pytest.fixture
def client() -> Client:
    return Client()


def subscribed(channel: str) -> Subscription:
    return Subscription(rules_of(channel), Grant(), ClientInfo(user="42", client="c1"))


def done(command_id: int) -> Reply:
    return reply_to(command_id, UnsubscribeResult())


def message(size: int) -> Reply:
    return Reply(push=Push(message=AsyncMessage(Raw(json.dumps("x" * size).encode()))))


NOT_JSON = reply_to(5, HistoryResult([Publication(Raw(b"\xff"))], "epoch", 1))


class TestReplies:
    def test_those_of_one_step_share_a_frame_in_order(self, client: Client) -> None:
        for number in range(1, 4):
            assert client.outlet.send(done(number)) is None
        assert client.transport.frames == [], "the step is not over"
        client.outlet.flush()
        client.outlet.flush()
        assert len(client.transport.frames) == 1 and [each["id"] for each in client.heard] == [1, 2, 3]
        assert (client.tally.messages_out, client.tally.bytes_out) == (3, len(client.transport.frames[0]))

    def test_much_is_not_kept_for_the_end_of_the_step(self, client: Client) -> None:
        for _ in range(5):
            client.outlet.send(message(JOINED_BYTES // 2))
        client.outlet.flush()
        assert len(client.heard) == 5 and max(map(len, client.transport.frames)) < JOINED_BYTES + 100

    def test_errors_are_counted_by_code(self, client: Client) -> None:
        client.outlet.send(reply_to(1, Error(*codes.LIMIT_EXCEEDED)))
        client.outlet.send(done(2))
        assert client.tally.errors == {106: 1}

    def test_publications_that_are_not_json_are_left_out_of_a_reply_and_counted(self, client: Client) -> None:
        client.outlet.send(done(1))
        assert client.outlet.send(NOT_JSON) is None
        assert client.outlet.send(Reply(push=Push(channel="a", pub=Publication(Raw(b"{"))))) is None
        client.outlet.flush()
        assert [each["id"] for each in client.heard] == [1, 5]
        assert client.heard[1]["history"] == {"publications": [], "epoch": "epoch", "offset": 1}
        assert client.tally.left_out == 2

    def test_a_slow_client_gets_what_was_in_progress(self, client: Client) -> None:
        client.slow().stall(START)
        client.outlet.send(done(1))
        client.outlet.flush()
        assert len(client.heard) == 1

    def test_a_farewell_comes_behind_them(self, client: Client) -> None:
        client.outlet.send(done(1))
        client.outlet.write_farewell(codes.GOING_AWAY)
        assert [each["id"] for each in client.heard] == [1]
        assert client.transport.close_frame == (1001, "shutdown")


class TestPushes:
    FRAMED = WEBSOCKET_JSON.frame([WEBSOCKET_JSON.encode(message(1))])

    def test_they_are_written_at_once_and_counted(self, client: Client) -> None:
        assert client.outlet.push(self.FRAMED, subscribed("live:x"), 3) is None
        assert client.transport.frames == [self.FRAMED]
        assert (client.tally.messages_out, client.tally.bytes_out) == (3, len(self.FRAMED))

    @pytest.mark.parametrize("channel", ["chat:x", "lossy:x"])
    def test_a_slow_client_is_skipped_where_a_log_has_them_or_they_may_be_lost(
        self, client: Client, channel: str
    ) -> None:
        client.slow().stall(START)
        assert client.outlet.push(self.FRAMED, subscribed(channel), 2) is SKIPPED
        assert client.transport.frames == [] and client.tally.messages_out == 0
        assert client.tally.dropped.total() == (2 if channel == "lossy:x" else 0)

    def test_elsewhere_it_has_to_go(self, client: Client) -> None:
        client.slow().stall(START)
        untaken = client.outlet.push(self.FRAMED, subscribed("live:x"), 1)
        assert untaken is not None and untaken.close == codes.SLOW and untaken.why
        assert client.transport.frames == [] and client.tally.dropped.total() == 0

    def test_a_client_that_waits_for_its_connect_reply_loses_nothing_and_is_skipped(self, client: Client) -> None:
        client.slow(connecting=True)
        for channel in ("chat:x", "lossy:x", "live:x"):
            assert client.outlet.push(self.FRAMED, subscribed(channel), 1) is SKIPPED
        assert client.transport.frames == [] and client.tally.dropped.total() == 0

    async def test_a_client_that_catches_up_gets_publications_without_history(self, client: Client) -> None:
        assert not client.slow(connecting=True).may_begin
        slow = client.slow(connecting=True)
        slow.owe({})
        assert slow.may_begin
        slow.begin(asyncio.sleep(0))
        assert client.outlet.push(self.FRAMED, subscribed("live:x"), 1) is None
        assert client.outlet.push(self.FRAMED, subscribed("chat:x"), 1) is SKIPPED, "it comes from the log"
        assert client.transport.frames == [self.FRAMED]

    def test_a_client_that_has_caught_up_gets_everything_again(self, client: Client) -> None:
        client.slow().stall(START)
        client.outlet.release()
        assert client.outlet.push(self.FRAMED, subscribed("chat:x"), 1) is None

    def test_joins_and_leaves_wait_for_a_slow_client_as_long_as_there_is_room(
        self, client: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(slow_consumer, "HELD_BYTES", 2 * len(self.FRAMED))
        assert client.outlet.push_member_events("room:x", self.FRAMED, 1) is None
        assert client.transport.frames == [self.FRAMED]
        client.slow().stall(START)
        assert client.outlet.push_member_events("room:x", self.FRAMED, 1) is None
        assert client.outlet.push_member_events("room:x", self.FRAMED, 1) is None
        untaken = client.outlet.push_member_events("room:x", self.FRAMED, 1)
        assert untaken is not None and untaken.close == codes.SLOW
        assert len(client.transport.frames) == 1


def test_pings_are_of_the_protocol_or_of_the_socket(client: Client) -> None:
    client.outlet.ping(native=False)
    client.outlet.ping(native=True)
    assert client.transport.frames[0] == WEBSOCKET_JSON.ping
    assert frames_in(client.transport.frames[1]) == [(PING, b"")]


def test_a_closed_one_writes_nothing(client: Client) -> None:
    outlet = client.outlet
    outlet.send(done(1))
    outlet.close()
    assert outlet.send(done(2)) is SKIPPED and outlet.send(NOT_JSON) is SKIPPED
    outlet.flush()
    outlet.ping(native=False)
    outlet.write_framed(TestPushes.FRAMED)
    assert outlet.push(TestPushes.FRAMED, subscribed("live:x"), 1) is SKIPPED
    assert outlet.push_member_events("room:x", TestPushes.FRAMED, 1) is SKIPPED
    assert client.transport.frames == [] and client.tally.messages_out == 0 and outlet.closed
