"""Connecting and leaving: who may connect, the facts in the session log, and what a client leaves behind."""

from __future__ import annotations

import json

import pytest

from proto import codes
from proto.events import Closed, Opened, Refused, Subscribed, Unsubscribed
from tests.edge.conversation import token
from tests.edge.signers import SECRET
from tests.edge.talks import Talk, connected
from tests.support.cluster import EdgeCluster, TestEdge, settled
from tests.support.eventually import eventually
from tests.support.function_backend import FunctionBackend


@pytest.fixture
async def edge() -> TestEdge:
    return await TestEdge(EdgeCluster(), token_hmac_secret_key=SECRET).start()


def events_of(edge: TestEdge, talk: Talk) -> list[type]:
    return [type(event) for event in edge.sessions.events if getattr(event, "connection", "") == talk.id]


class TestSessionLog:
    async def test_a_whole_life(self, edge):
        talk = Talk(edge)
        await talk.connect({"channels": ["chat:x"], "sid": "s1"}, name="js", version="5")
        await talk.subscribe("live:y")
        await talk.ask(unsubscribe={"channel": "live:y"})
        talk.connection.end_subscription("chat:x", codes.UNSUBSCRIBED_BY_SERVER)
        talk.connection.closed_by_peer(1000, "bye")
        opened, in_x, in_y, out_y, out_x, closed = edge.sessions.events
        assert isinstance(opened, Opened) and opened.connection == talk.id
        assert (opened.user, opened.session_key, opened.client_name, opened.client_version) == ("42", "s1", "js", "5")
        assert isinstance(in_x, Subscribed) and isinstance(in_y, Subscribed)
        assert [in_x.channel, in_y.channel] == ["chat:x", "live:y"]
        assert isinstance(out_y, Unsubscribed) and (out_y.channel, out_y.code) == ("live:y", 0)
        assert isinstance(out_x, Unsubscribed) and (out_x.channel, out_x.code) == ("chat:x", 2000)
        assert isinstance(closed, Closed) and (closed.code, closed.reason) == (1000, "bye")

    async def test_whether_a_subscribe_recovered(self, edge):
        talk = await connected(edge)
        for request, recovered in (
            ({}, None),
            ({"recover": True, "epoch": "epoch1"}, True),
            ({"recover": True, "epoch": "other"}, False),
        ):
            await talk.subscribe("chat:x", **request)
            event = edge.sessions.events[-1]
            assert isinstance(event, Subscribed) and event.recovered is recovered
            await talk.ask(unsubscribe={"channel": "chat:x"})

    async def test_a_client_that_never_connected_is_not_recorded(self, edge):
        silent, forged, refused = Talk(edge), Talk(edge), Talk(edge)
        forged.say({"id": 1, "connect": {"token": "x"}})
        refused.say({"id": 1, "connect": {"token": token(channels=["none:x"])}})
        assert (await refused.reply(1))["error"]["code"] == 102
        for talk in (silent, forged, refused):
            talk.connection.lost()
        assert events_of(edge, silent) == [] and events_of(edge, forged) == events_of(edge, refused) == [Refused]
        assert [(event.action, event.code, event.user) for event in edge.sessions.events] == [
            ("connect", 3500, ""),
            ("connect", 102, "42"),
        ]

    async def test_every_session_that_is_opened_is_closed_once(self, edge):
        """Also one whose connect failed half way, and one that vanished in the middle of it."""
        edge.broker.go_away()
        failed, vanished = Talk(edge), Talk(edge)
        for talk in (failed, vanished):
            talk.say({"id": 1, "connect": {"token": token(channels=["live:y", "chat:x"])}})
        vanished.connection.lost()
        assert (await failed.reply(1))["error"]["code"] == 100
        failed.connection.closed_by_peer(1000, "")
        failed.connection.lost()
        for talk in (failed, vanished):
            events = events_of(edge, talk)
            assert events.count(Opened) == events.count(Closed) <= 1
        edge.broker.come_back()
        good = await connected(edge)
        good.connection.close(codes.FORCE_DISCONNECT)
        good.connection.lost()
        assert events_of(edge, good) == [Opened, Closed]


class TestUsers:
    async def test_the_registry_knows_the_connections_of_a_user(self, edge):
        one, two = await connected(edge, sub="42"), await connected(edge, sub="42")
        await connected(edge, sub="7")
        registry = edge.context.registry
        assert set(registry.of_user("42")) == {one.connection, two.connection} and registry.users == 2
        two.connection.lost()
        assert registry.of_user("42") == [one.connection]
        one.connection.close(codes.FORCE_DISCONNECT)
        assert registry.of_user("42") == []

    @pytest.mark.parametrize("claims", [{}, {"channels": ["chat:x"]}])
    async def test_no_user_gets_past_the_limit_by_being_quick(self, claims):
        edge = await TestEdge(EdgeCluster(), token_hmac_secret_key=SECRET, user_connection_limit=2).start()
        talks = [Talk(edge) for _ in range(4)]
        for talk in talks:
            talk.say({"id": 1, "connect": {"token": token(sub="42", **claims)}})
        await settled()
        assert [talk.closed for talk in talks] == [0, 0, 3504, 3504]
        talks[0].connection.lost()
        await connected(edge, sub="42")

    async def test_nor_by_a_backend_that_takes_its_time(self):
        def admit(question, caller):
            return json.dumps({"result": {"user": "42", "channels": ["chat:x"]}}).encode()

        edge = await TestEdge(
            EdgeCluster(), backend=FunctionBackend(hooks={"connect": admit}), connect_hook=True, user_connection_limit=2
        ).start()
        talks = [Talk(edge) for _ in range(4)]
        for talk in talks:
            talk.say({"id": 1, "connect": {}})
        await settled()
        assert sorted(talk.closed for talk in talks) == [0, 0, 3504, 3504]
        assert edge.context.registry.count_of_user("42") == 2


class TestHooks:
    """Through the backend and back. The tests of the session hold the decisions."""

    async def edge(self, connect: object = None) -> TestEdge:
        def answer(question, caller):
            return json.dumps(connect).encode()

        backend = FunctionBackend(hooks={} if connect is None else {"connect": answer})
        return await TestEdge(EdgeCluster(), backend=backend, connect_hook=True).start()

    async def test_admitted_with_subscriptions(self):
        edge = await self.edge(connect={"result": {"user": "7", "data": {"hi": 1}, "subs": {"chat:x": {"data": 1}}}})
        talk = Talk(edge)
        result = await talk.connect()
        assert result["data"] == {"hi": 1} and result["subs"]["chat:x"]["data"] == 1
        assert edge.context.registry.of_user("7") == [talk.connection]
        await edge.publish("chat:x", 1)
        await eventually(lambda: talk.values("chat:x") == [1])

    async def test_refused_and_expelled(self):
        edge = await self.edge(connect={"error": {"code": 403, "message": "no"}})
        talk = Talk(edge)
        talk.say({"id": 1, "connect": {}}, {"id": 2, "subscribe": {"channel": "live:x"}})
        assert (await talk.reply(1))["error"] == {"code": 403, "message": "no"}
        await settled()
        assert len(talk.heard) == 1
        edge = await self.edge(connect={"disconnect": {"code": 4501, "reason": "banned"}})
        talk = Talk(edge)
        talk.say({"id": 1, "connect": {}})
        await eventually(lambda: talk.closed == 4501)
        assert talk.transport.close_frame == (4501, "banned")
        (event,) = edge.sessions.events
        assert isinstance(event, Refused) and (event.action, event.code, event.reason) == ("connect", 4501, "banned")

    async def test_away_the_client_is_to_come_again(self):
        edge = await self.edge()
        talk = Talk(edge)
        talk.say({"id": 1, "connect": {}})
        error = (await talk.reply(1))["error"]
        assert error["code"] == 100 and error["temporary"]

    async def test_a_client_that_vanishes_meanwhile_is_nowhere(self):
        edge = await self.edge(connect={"result": {"user": "7", "channels": ["room:x"]}})
        talk = Talk(edge)
        talk.say({"id": 1, "connect": {}})
        talk.connection.lost()
        await settled()
        assert edge.context.registry.count_of_user("7") == 0 and edge.node.subscriptions == 0
        assert edge.sessions.events == []
        assert await edge.node.presence.members("room:x") == {}


class TestGoodbye:
    async def test_it_waits_for_the_command_in_progress(self, edge):
        talk = await connected(edge)
        talk.say({"id": 2, "publish": {"channel": "chat:x", "data": 1}}, {"id": 3, "unsubscribe": {"channel": "x"}})
        talk.connection.leave(codes.GOING_AWAY)
        assert talk.open
        await talk.reply(2)
        await eventually(lambda: talk.closed == 1001)
        assert [message["id"] for message in talk.heard] == [1, 2], "what came behind it is not begun any more"

    async def test_it_does_not_wait_where_there_is_none(self, edge):
        talk = await connected(edge)
        talk.connection.leave(codes.GOING_AWAY)
        assert talk.transport.close_frame == (1001, "shutdown")

    async def test_only_the_first_reason_counts(self, edge):
        talk = await connected(edge)
        talk.connection.close(codes.FORCE_DISCONNECT)
        talk.connection.close(codes.SLOW)
        talk.connection.leave(codes.GOING_AWAY)
        talk.connection.closed_by_peer(1000, "")
        talk.connection.lost()
        assert talk.closed == 3503 and edge.tally.closes == {3503: 1}

    async def test_a_closed_connection_is_told_nothing_more(self, edge):
        talk = await connected(edge)
        await talk.subscribe("room:x")
        await eventually(lambda: len(talk.members) == 1)
        heard = len(talk.heard)
        talk.connection.close(codes.FORCE_DISCONNECT)
        await edge.publish("room:x", 1)
        other = await connected(edge)
        await other.subscribe("room:x")
        talk.say({"id": 9, "subscribe": {"channel": "chat:x"}})
        await settled()
        assert len(talk.heard) == heard and edge.node.subscriptions == 1


class TestFrames:
    @pytest.mark.parametrize("frame", [b"", b"\n", b"{", b"[]", b"\xff", b'{"id":1,"connect":{}}\n\n'])
    async def test_a_message_without_commands_ends_the_connection(self, edge, frame):
        talk = Talk(edge)
        talk.connection.message_received(frame)
        assert talk.closed == 3501

    async def test_too_many_commands_in_a_frame_or_in_line(self):
        edge = await TestEdge(EdgeCluster(), commands_per_message=3, queued_commands_limit=4).start()
        talk = await connected(edge)
        command = {"id": 7, "publish": {"channel": "chat:x", "data": 1}}
        talk.say(command, command, command)
        talk.say(command, command)
        assert talk.open and not talk.transport.reading, "reading stops before it is too much"
        talk.say(command, command)
        assert talk.closed == 3013
        talk = await connected(edge)
        talk.say(*[command] * 4)
        assert talk.closed == 3501
