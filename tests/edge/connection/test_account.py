"""What the session log is told of one connection: who ended it, what went in and out, where it was, how it lagged."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import pytest
from msgspec import Raw

from proto import codes
from proto.codes import CloseCode
from proto.control import DisconnectUser, RefreshUser, Selector, UnsubscribeUser
from proto.events import (
    MAX_OFFSETS,
    CaughtUp,
    Closed,
    EdgeDraining,
    EdgeStopped,
    Lagged,
    Opened,
    Refreshed,
    Refused,
    SessionEvent,
    Subscribed,
    Unsubscribed,
)
from services.chassis.process.settings import Duration
from services.edge.arrival import Arrival
from services.edge.backend.backend import BackendDisconnect, Caller
from services.edge.connection.account import LAGS_EVERY_S, OFFSETS_WHILE_WAITING
from services.edge.connection.connection import Connection
from services.edge.connection.drain import Drain
from services.edge.edge_settings import EdgeSection
from services.edge.framing.formats import WEBSOCKET_PROTOBUF
from tests.edge.conversation import START, token
from tests.edge.signers import SECRET
from tests.edge.talks import Talk, connected
from tests.support.cluster import EdgeCluster, TestEdge
from tests.support.eventually import eventually
from tests.support.function_backend import FunctionBackend

E = TypeVar("E", bound=SessionEvent)


@pytest.fixture
async def edge() -> TestEdge:
    return await TestEdge(EdgeCluster(), token_hmac_secret_key=SECRET).start()


def told(edge: TestEdge, kind: type[E]) -> list[E]:
    return [event for event in edge.sessions.events if isinstance(event, kind)]


def closed(edge: TestEdge) -> Closed:
    (event,) = told(edge, Closed)
    return event


class TestOpened:
    async def test_with_the_encoding_and_the_address_as_configured(self) -> None:
        details: dict[str, Any] = {"session_event_details": ["address", "transport"], "session_addresses": "truncated"}
        edge = await TestEdge(EdgeCluster(), **details).start()
        talk = Talk(edge, WEBSOCKET_PROTOBUF)
        talk.connection.session.state.arrival = Arrival("203.0.113.77")
        await talk.connect()
        (opened,) = told(edge, Opened)
        assert (opened.encoding, opened.address, opened.transport) == ("protobuf", "203.0.113.0/24", "websocket")


class TestWhoEndedIt:
    """One who looks at drops wants to know first whether it was the client, the network or we."""

    @pytest.mark.parametrize(
        ("end", "by", "code"),
        [
            (lambda it: it.closed_by_peer(1000, "bye"), "client", 1000),
            (lambda it: it.lost(), "network", 1006),
            (lambda it: it.close(codes.SLOW), "edge", 3008),
            (lambda it: it.leave(codes.FORCE_RECONNECT), "edge", 3011),
            (lambda it: it.message_received(b"no command"), "edge", 3501),
        ],
        ids=["client", "network", "slow", "shed", "protocol"],
    )
    async def test_by_what_happened(self, edge, end: Callable[[Connection], None], by: str, code: int) -> None:
        talk = await connected(edge, sub="42")
        end(talk.connection)
        assert (closed(edge).by, closed(edge).code) == (by, code)

    async def test_a_client_that_answers_no_ping_is_lost_by_the_network(self, edge) -> None:
        talk = await connected(edge, sub="42")
        for _ in range(2):
            edge.clock.time = talk.connection.session.deadline
            talk.connection.on_time(edge.clock.time)
        assert (closed(edge).by, closed(edge).code) == ("network", codes.NO_PONG.code)

    @pytest.mark.parametrize(
        "request_of",
        [
            lambda to: DisconnectUser(to, 4501, "banned"),
            lambda to: RefreshUser(to, expired=True),
        ],
        ids=["disconnect", "expired"],
    )
    async def test_the_backend_by_the_server_api(self, edge, request_of: Callable[[Selector], Any]) -> None:
        await connected(edge, sub="42")
        edge.control_handler.answer(request_of(Selector("42")))
        assert closed(edge).by == "backend"

    async def test_the_backend_by_a_hook(self) -> None:
        def banned(data: bytes, caller: Caller | None) -> bytes:
            raise BackendDisconnect(CloseCode(4501, "banned"))

        backend = FunctionBackend({"x": banned})
        edge = await TestEdge(EdgeCluster(), backend=backend).start()
        talk = Talk(edge)
        await talk.connect()
        talk.say({"id": 2, "rpc": {"method": "x", "data": 1}})
        await eventually(lambda: talk.closed == 4501)
        assert closed(edge).by == "backend"

    async def test_a_user_s_newer_connection_is_a_limit_of_the_edge(self) -> None:
        edge = await TestEdge(EdgeCluster(), token_hmac_secret_key=SECRET, single_connection=True).start()
        older = await connected(edge, sub="42")
        edge.clock.time += 1
        await connected(edge, sub="42")
        await eventually(lambda: older.closed == 3504)
        assert (closed(edge).by, closed(edge).connection) == ("edge", older.id)

    async def test_a_drain_says_how_many_go_and_that_all_are_gone(self, edge) -> None:
        talks = [await connected(edge, sub="42") for _ in range(3)]
        drain = Drain(edge.context, EdgeSection(drain_delay=Duration(0), drain_rate=0, drain_timeout=Duration(3)))
        for _ in range(15):
            edge.context.refusal_facts.note(Refused(0, "rpc", 108, "not available"))
        await drain.run()
        assert {event.by for event in told(edge, Closed)} == {"drain"} and len(told(edge, Closed)) == len(talks)
        assert told(edge, EdgeDraining) == [EdgeDraining(int(START) * 1000, connections=3)]
        assert told(edge, EdgeStopped) == [EdgeStopped(int(START) * 1000, left=0)]
        kinds = [type(event) for event in edge.sessions.events]
        assert kinds.index(EdgeDraining) < kinds.index(Closed) and kinds[-1] is EdgeStopped
        assert told(edge, Refused)[-1].count == 5, "what was only counted is told before the end"


class TestCounters:
    async def test_messages_and_bytes_of_both_directions_and_when_it_was_heard(self, edge) -> None:
        talk = await connected(edge, sub="42")
        await talk.subscribe("live:y")
        edge.clock.time += 5
        talk.say({"id": 7, "presence_stats": {"channel": "live:y"}})
        heard_at = edge.clock.time
        edge.clock.time += 60
        await edge.publish("live:y", "hello")
        await eventually(lambda: talk.values("live:y"))
        edge.clock.ahead_s = 100
        talk.connection.lost()
        event = closed(edge)
        assert event.messages_in == edge.tally.messages_in and event.messages_out == edge.tally.messages_out >= 3
        assert event.bytes_out == edge.tally.bytes_out == sum(map(len, talk.transport.frames))
        assert event.bytes_in > 100
        assert event.heard_at == int(heard_at + 100) * 1000, "by the wall clock of the end"

    async def test_those_of_a_slow_client_have_what_it_caught_up_with(self, edge) -> None:
        talk = await connected(edge, sub="42")
        await talk.subscribe("chat:x")
        talk.transport.stall = True
        for number in range(3):
            await edge.publish("chat:x", number)
        talk.connection.resume_writing()
        await eventually(lambda: talk.values("chat:x") == [0, 1, 2])
        talk.connection.lost()
        assert closed(edge).bytes_out == sum(map(len, talk.transport.frames))

    async def test_a_pong_of_the_websocket_counts_as_heard(self, edge) -> None:
        talk = await connected(edge, sub="42")
        edge.clock.time += 9
        talk.connection.native_pong(edge.clock.time)
        talk.connection.lost()
        assert closed(edge).heard_at == int(START + 9) * 1000


class TestOffsets:
    async def test_the_last_offset_of_each_channel_with_history(self, edge) -> None:
        talk = await connected(edge, channels=["chat:x"])
        for channel in ("chat:y", "chat:empty", "live:z"):
            await talk.subscribe(channel)
        for _ in range(3):
            in_x = await edge.publish("chat:x", 1)
        in_y = await edge.publish("chat:y", 1)
        await edge.publish("live:z", 1)
        await eventually(lambda: len(talk.values("chat:x")) == 3 and talk.values("chat:y"))
        talk.connection.lost()
        assert closed(edge).offsets == {"chat:x": in_x.offset, "chat:y": in_y.offset}

    async def test_of_a_client_that_lags_those_it_was_sent(self, edge) -> None:
        talk = await connected(edge, sub="42")
        await talk.subscribe("chat:x")
        talk.transport.stall = True
        await edge.publish("chat:x", "fills the socket")
        await eventually(lambda: not talk.transport.stall)
        for _ in range(5):
            await edge.publish("chat:x", "missed")
        talk.connection.close(codes.SLOW)
        assert closed(edge).offsets == {"chat:x": 1}

    async def test_a_channel_that_it_left_before_is_none(self, edge) -> None:
        talk = await connected(edge, sub="42")
        await talk.subscribe("chat:x")
        await edge.publish("chat:x", 1)
        await talk.ask(unsubscribe={"channel": "chat:x"})
        talk.connection.lost()
        assert closed(edge).offsets == {}

    async def test_none_while_very_many_facts_wait_for_nats(self, edge) -> None:
        talk = await connected(edge, sub="42")
        await talk.subscribe("chat:x")
        await edge.publish("chat:x", 1)
        edge.sessions.waiting = OFFSETS_WHILE_WAITING + 1
        talk.connection.lost()
        assert closed(edge).offsets == {}

    async def test_of_very_many_channels_some(self, edge) -> None:
        talk = await connected(edge, sub="42")
        for number in range(MAX_OFFSETS + 5):
            await edge.publish(f"chat:{number}", 1)
            await talk.subscribe(f"chat:{number}")
        talk.connection.lost()
        assert len(closed(edge).offsets) == MAX_OFFSETS


class TestLagging:
    async def lags(self, edge: TestEdge, talk: Talk) -> None:
        """Its socket is full for two seconds."""
        talk.transport.stall, talk.transport.waiting = True, 70_000
        before = len(talk.values("chat:x"))
        await edge.publish("chat:x", 1)
        await eventually(lambda: not talk.transport.stall)
        edge.clock.time += 2
        talk.connection.resume_writing()
        await eventually(lambda: talk.connection._outlet.slow is None and len(talk.values("chat:x")) > before)

    async def test_an_episode_is_told_once_and_how_long_it_took(self, edge) -> None:
        talk = await connected(edge, sub="42")
        await talk.subscribe("chat:x")
        await self.lags(edge, talk)
        at = int(START) * 1000
        assert told(edge, Lagged) == [Lagged(at, talk.id, waiting=70_000)]
        assert told(edge, CaughtUp) == [CaughtUp(at + 2000, talk.id, lagged_ms=2000)]

    async def test_a_client_that_flickers_is_not_told_of_at_every_turn(self, edge) -> None:
        talk = await connected(edge, sub="42")
        await talk.subscribe("chat:x")
        for _ in range(4):
            await self.lags(edge, talk)
        assert len(told(edge, Lagged)) == len(told(edge, CaughtUp)) == 1
        edge.clock.time += LAGS_EVERY_S
        await self.lags(edge, talk)
        assert len(told(edge, Lagged)) == len(told(edge, CaughtUp)) == 2

    async def test_one_that_ends_while_it_lags_never_caught_up(self, edge) -> None:
        talk = await connected(edge, sub="42")
        await talk.subscribe("chat:x")
        talk.transport.stall = True
        await edge.publish("chat:x", 1)
        await eventually(lambda: not talk.transport.stall)
        talk.connection.close(codes.SLOW)
        assert len(told(edge, Lagged)) == 1 and told(edge, CaughtUp) == []


class TestSubscriptions:
    async def test_what_a_subscribe_recovered_and_from_where(self, edge) -> None:
        for number in range(5):
            await edge.publish("chat:x", number)
        talk = await connected(edge, sub="42")
        await talk.subscribe("chat:x", recover=True, epoch="epoch1", offset=2)
        await talk.ask(unsubscribe={"channel": "chat:x"})
        await talk.subscribe("chat:x", recover=True, epoch="other", offset=2)
        again, gap = told(edge, Subscribed)
        assert (again.recovered, again.recovered_from, again.recovered_count) == (True, 2, 3)
        assert (gap.recovered, gap.recovered_from, gap.recovered_count, gap.offset) == (False, 2, 0, 5)

    @pytest.mark.parametrize("offset", [2**63, 2**64 - 1, 10**30])
    async def test_a_position_that_no_log_has_leaves_the_fact_readable(self, edge, offset: int) -> None:
        talk = await connected(edge, sub="42")
        await talk.subscribe("chat:x", recover=True, epoch="other", offset=offset)
        (fact,) = told(edge, Subscribed)
        assert (fact.recovered, fact.recovered_from) == (False, 2**63 - 1)

    async def test_who_ended_a_subscription_and_why(self, edge) -> None:
        talk = await connected(edge, sub="42")
        for channel in ("chat:x", "chat:y", "chat:z"):
            await talk.subscribe(channel)
        await talk.ask(unsubscribe={"channel": "chat:x"})
        edge.control_handler.answer(UnsubscribeUser(Selector("42"), "chat:y", 2000, "moved"))
        talk.connection.end_subscription("chat:z", codes.UNSUBSCRIBED_INSUFFICIENT_STATE)
        assert [(event.channel, event.code, event.by, event.reason) for event in told(edge, Unsubscribed)] == [
            ("chat:x", 0, "client", ""),
            ("chat:y", 2000, "backend", "moved"),
            ("chat:z", 2500, "edge", "insufficient state"),
        ]

    async def test_a_new_expiry_by_the_client_and_by_the_backend(self) -> None:
        edge = await TestEdge(EdgeCluster(), token_hmac_secret_key=SECRET, insecure=False).start()
        talk = await connected(edge, sub="42", exp=int(START) + 100)
        await talk.ask(refresh={"token": token(exp=int(START) + 900)})
        edge.control_handler.answer(RefreshUser(Selector("42"), False, int(START) + 1200, Raw(b"")))
        assert [(event.channel, event.expires_at) for event in told(edge, Refreshed)] == [
            ("", int(START + 900) * 1000),
            ("", int(START + 1200) * 1000),
        ]


class TestRefusals:
    async def test_what_was_refused_to_whom_with_which_code(self, edge) -> None:
        talk = await connected(edge, sub="42")
        assert await talk.error(subscribe={"channel": "none:x"}) == 102
        assert await talk.error(publish={"channel": "none:y", "data": 1}) == 102
        assert await talk.error(rpc={"method": "x", "data": 1}) == 108
        assert [(event.action, event.code, event.channel, event.user) for event in told(edge, Refused)] == [
            ("subscribe", 102, "none:x", "42"),
            ("publish", 102, "none:y", "42"),
            ("rpc", 108, "", "42"),
        ]
        assert {event.connection for event in told(edge, Refused)} == {talk.id}
        assert told(edge, Refused)[0].reason == "unknown channel"

    async def test_a_connect_with_the_address_as_configured(self) -> None:
        details: dict[str, Any] = {"session_event_details": ["address"], "session_addresses": "truncated"}
        edge = await TestEdge(EdgeCluster(), token_hmac_secret_key=SECRET, **details).start()
        talk = Talk(edge)
        talk.connection.session.state.arrival = Arrival("203.0.113.77")
        talk.say({"id": 1, "connect": {"token": "forged", "name": "js", "version": "5"}})
        (refused,) = told(edge, Refused)
        assert (refused.action, refused.code, refused.reason) == ("connect", 3500, "invalid token")
        assert (refused.address, refused.client_name, refused.client_version) == ("203.0.113.0/24", "js", "5")

    async def test_a_command_with_what_the_opening_tells_of_how_the_client_came(self) -> None:
        named = ["address", "transport", "user_agent", "origin"]
        details: dict[str, Any] = {"session_event_details": named, "session_addresses": "truncated"}
        edge = await TestEdge(EdgeCluster(), **details).start()
        talk = Talk(edge)
        talk.connection.session.state.arrival = Arrival("203.0.113.77", "https://example.com", "Firefox")
        await talk.connect()
        assert await talk.error(subscribe={"channel": "none:x"}) == 102
        (opened,), (refused,) = told(edge, Opened), told(edge, Refused)
        of_both = [[getattr(fact, name) for name in named] for fact in (opened, refused)]
        assert of_both == [["203.0.113.0/24", "websocket", "Firefox", "https://example.com"]] * 2

    async def test_a_client_that_never_says_connect_is_refused_once(self, edge) -> None:
        talk = Talk(edge)
        edge.clock.time += 20
        talk.connection.on_time(edge.clock.time)
        talk.connection.lost()
        assert [(event.action, event.code) for event in told(edge, Refused)] == [("connect", codes.STALE.code)]
        assert told(edge, Closed) == []

    async def test_one_that_a_drain_meets_before_its_connect_is_not_refused(self, edge) -> None:
        Talk(edge).connection.leave(codes.GOING_AWAY, "drain")
        assert told(edge, Refused) == []
