"""Server commands for a connection: they wait in line with the client's own commands, which see their effects."""

from __future__ import annotations

import asyncio

import pytest
from msgspec import Raw

from proto import codes
from proto.codes import UnsubscribeCode
from proto.events import Subscribed, Unsubscribed
from proto.messages import StreamPosition
from services.edge.grants import MAX_TTL_S, Grant, Override, Switch
from services.edge.session import command_order
from services.edge.session.server_commands import RefreshClient, SendToClient, SubscribeClient, UnsubscribeClient
from services.edge.session.state import Phase
from tests.edge.conversation import token
from tests.edge.signers import SECRET
from tests.edge.talks import Talk, connected
from tests.support.cluster import START, EdgeCluster, TestEdge, settled
from tests.support.eventually import eventually


@pytest.fixture
async def edge() -> TestEdge:
    return await TestEdge(EdgeCluster(), token_hmac_secret_key=SECRET).start()


@pytest.fixture
async def talk(edge: TestEdge) -> Talk:
    return await connected(edge)


def subscribe(channel: str, since: StreamPosition | None = None, **grant: object) -> SubscribeClient:
    return SubscribeClient(channel, Grant(**grant), since)  # type: ignore[arg-type]  # fields of a grant


BY_SERVER = codes.UNSUBSCRIBED_BY_SERVER


class TestSubscribe:
    async def test_the_client_is_told_and_gets_what_is_published(self, edge, talk):
        await edge.publish("chat:x", 0)
        talk.connection.server_command(subscribe("chat:x", data=Raw(b'{"topic":1}')))
        await eventually(lambda: talk.channels == ["chat:x"])
        assert talk.pushes == [
            {
                "channel": "chat:x",
                "subscribe": {
                    "recoverable": True,
                    "positioned": True,
                    "epoch": "epoch1",
                    "offset": 1,
                    "data": {"topic": 1},
                },
            }
        ]
        await edge.publish("chat:x", 1)
        await eventually(lambda: talk.values("chat:x") == [1])
        subscribed = edge.sessions.events[-1]
        assert isinstance(subscribed, Subscribed) and (subscribed.channel, subscribed.offset) == ("chat:x", 1)

    async def test_publications_missed_since_a_position_follow_the_push(self, edge, talk):
        first = await edge.publish("chat:x", 0)
        for n in range(1, 4):
            await edge.publish("chat:x", n)
        talk.connection.server_command(subscribe("chat:x", first))
        await eventually(lambda: talk.values("chat:x") == [1, 2, 3])
        assert "subscribe" in talk.pushes[0] and talk.pushes[0]["subscribe"]["offset"] == first.offset

    async def test_much_of_it_follows_as_fast_as_the_client_takes_it(self, edge, talk):
        first = await edge.publish("chat:x", [0])
        for n in range(1, 10):
            await edge.publish("chat:x", [n, "x" * 100_000])
        talk.connection.server_command(subscribe("chat:x", first))
        await eventually(lambda: [value[0] for value in talk.values("chat:x")] == list(range(1, 10)))
        assert max(map(len, talk.transport.frames)) < 1024 * 1024

    async def test_it_joins_on_the_terms_of_the_grant(self, edge, talk):
        witness = await connected(edge)
        await witness.subscribe("room:x")
        talk.connection.server_command(subscribe("room:x", info=Raw(b'{"role":"host"}')))
        await eventually(lambda: ("join", "room:x", talk.id) in witness.members)
        (join,) = [
            push["join"] for push in witness.pushes if push.get("join", {}).get("info", {}).get("client") == talk.id
        ]
        assert join["info"]["chan_info"] == {"role": "host"}
        hidden = Override(presence=Switch(False), join_leave=Switch(False))
        talk.connection.server_command(subscribe("room:y", override=hidden))
        await eventually(lambda: "room:y" in talk.channels)
        assert list(await edge.node.presence.members("room:x")) == [witness.id, talk.id]
        assert await edge.node.presence.members("room:y") == {}

    async def test_where_it_is_subscribed_already_nothing_changes(self, edge, talk):
        await talk.subscribe("chat:x")
        talk.connection.server_command(subscribe("chat:x"))
        await settled()
        assert talk.pushes == [] and edge.node.subscriptions == 1
        assert not talk.connection.session.state.channels["chat:x"].server_side

    @pytest.mark.parametrize("channel", ["none:x", "", "x" * 256])
    async def test_a_failed_server_command_is_logged_and_not_told_to_the_client(self, edge, talk, channel, caplog):
        caplog.set_level("INFO")
        talk.connection.server_command(subscribe(channel))
        await settled()
        assert talk.channels == [] and talk.pushes == [] and talk.open
        assert "a backend's subscribe was refused" in caplog.text

    async def test_no_more_channels_than_a_client_may_have(self, caplog):
        caplog.set_level("INFO")
        edge = await TestEdge(EdgeCluster(), channel_limit=2).start()
        talk = await connected(edge)
        for n in range(3):
            talk.connection.server_command(subscribe(f"live:{n}"))
        await settled()
        assert talk.channels == ["live:0", "live:1"] and talk.open
        assert "client.channel_limit" in caplog.text

    async def test_it_expires_and_then_the_client_comes_back(self):
        edge = await TestEdge(EdgeCluster(), insecure=False, token_hmac_secret_key=SECRET).start()
        talk = await connected(edge, sub="42")
        talk.connection.server_command(subscribe("chat:x", expires_at=int(START) + 60))
        await eventually(lambda: talk.channels == ["chat:x"])
        edge.clock.time = START + 86
        edge.context.timing_wheel.turn(edge.clock.time)
        assert talk.closed == 3006

    async def test_while_the_broker_is_away_it_waits(self, edge, talk):
        edge.broker.go_away()
        talk.connection.server_command(subscribe("chat:x"))
        await settled()
        assert talk.channels == [] and talk.pushes == []
        edge.broker.come_back()
        await eventually(lambda: talk.channels == ["chat:x"])
        assert [list(push) for push in talk.pushes] == [["channel", "subscribe"]]

    async def test_a_server_command_that_misses_its_deadline_is_logged(self, edge, talk, monkeypatch, caplog):
        caplog.set_level("INFO")
        monkeypatch.setattr(command_order, "COMMAND_DEADLINE_S", 0.05)
        edge.broker.go_away()
        talk.connection.server_command(subscribe("chat:x"))
        await eventually(lambda: "a backend's subscribe was not carried out" in caplog.text)
        edge.broker.come_back()
        await talk.subscribe("chat:x")


class TestUnsubscribe:
    async def test_the_client_is_told_why_and_gets_nothing_more(self, edge, talk):
        await talk.subscribe("chat:x")
        witness = await connected(edge)
        await witness.subscribe("chat:x")
        talk.connection.server_command(UnsubscribeClient("chat:x", UnsubscribeCode(2100, "moved")))
        assert talk.pushes == [{"channel": "chat:x", "unsubscribe": {"code": 2100, "reason": "moved"}}]
        assert talk.channels == []
        event = edge.sessions.events[-1]
        assert isinstance(event, Unsubscribed) and (event.channel, event.code) == ("chat:x", 2100)
        await edge.publish("chat:x", 1)
        await eventually(lambda: witness.values("chat:x") == [1])
        assert talk.values("chat:x") == []

    async def test_from_everything(self, edge, talk):
        for channel in ("chat:x", "live:y"):
            await talk.subscribe(channel)
        talk.connection.server_command(UnsubscribeClient("", BY_SERVER))
        assert [push["channel"] for push in talk.pushes] == ["chat:x", "live:y"]
        assert talk.channels == [] and edge.node.subscriptions == 0 and talk.open

    async def test_from_where_it_never_was(self, talk):
        talk.connection.server_command(UnsubscribeClient("chat:x", BY_SERVER))
        talk.connection.server_command(UnsubscribeClient("", BY_SERVER))
        assert talk.pushes == [] and talk.open

    @pytest.mark.parametrize(("code", "closed"), [(2000, 0), (2499, 0), (2500, 3010)])
    async def test_a_server_side_subscription_that_would_be_made_anew_is_by_a_new_connection(self, edge, code, closed):
        """SDKs do not subscribe again to server-side subscriptions: they reconnect."""
        talk = Talk(edge)
        await talk.connect({"channels": ["chat:x"]})
        talk.connection.server_command(UnsubscribeClient("chat:x", UnsubscribeCode(code, "why")))
        await eventually(lambda: talk.channels == [])
        assert talk.closed == closed

    async def test_one_of_the_clients_own_is_made_anew_by_the_client(self, edge, talk):
        await talk.subscribe("chat:x")
        talk.connection.end_subscription("chat:x", codes.UNSUBSCRIBED_INSUFFICIENT_STATE)
        assert talk.pushes == [{"channel": "chat:x", "unsubscribe": {"code": 2500, "reason": "insufficient state"}}]
        assert talk.open


class TestRefreshAndMessages:
    async def test_the_client_is_told_of_its_new_end_and_it_comes(self):
        edge = await TestEdge(EdgeCluster(), insecure=False, token_hmac_secret_key=SECRET, ping_interval=0).start()
        talk = await connected(edge, sub="42", exp=int(START) + 600, info={"n": 1})
        talk.connection.server_command(RefreshClient(int(START) + 60, Raw(b'{"n":2}')))
        assert talk.pushes == [{"refresh": {"expires": True, "ttl": 60}}]
        assert bytes(talk.connection.session.state.info().conn_info) == b'{"n":2}'
        edge.clock.time = START + 85.25
        edge.context.timing_wheel.turn(edge.clock.time)
        assert talk.closed == 3005

    async def test_never_is_a_time_too(self, edge, talk):
        talk.connection.server_command(RefreshClient(0, Raw(b"")))
        talk.connection.server_command(RefreshClient(int(START) + 10 * MAX_TTL_S, Raw(b"")))
        assert talk.pushes == [{"refresh": {}}, {"refresh": {"expires": True, "ttl": MAX_TTL_S}}]

    async def test_a_message_belongs_to_no_channel(self, talk):
        talk.connection.server_command(SendToClient(Raw(b'{"hello":1}')))
        assert talk.pushes == [{"message": {"data": {"hello": 1}}}]


class TestInLine:
    """An order never meets a command half done."""

    async def test_orders_wait_for_the_command_in_progress(self, edge, talk):
        talk.say({"id": 2, "subscribe": {"channel": "chat:x"}})
        talk.connection.server_command(UnsubscribeClient("chat:x", BY_SERVER))
        talk.say({"id": 3, "subscribe": {"channel": "chat:x"}})
        talk.connection.server_command(SendToClient(Raw(b"1")))
        await talk.reply(3)
        told = [
            f"reply {each['id']}" if "id" in each else next(kind for kind in each["push"] if kind != "channel")
            for each in talk.heard[1:]
        ]
        await eventually(lambda: "message" in talk.pushes[-1])
        assert told[:3] == ["reply 2", "unsubscribe", "reply 3"] and talk.channels == ["chat:x"]

    async def test_commands_wait_for_the_order_in_progress(self, talk):
        talk.connection.server_command(subscribe("chat:x"))
        talk.say({"id": 2, "unsubscribe": {"channel": "chat:x"}}, {"id": 3, "subscribe": {"channel": "chat:x"}})
        await talk.reply(3)
        assert "subscribe" in talk.pushes[0] and talk.channels == ["chat:x"]

    async def test_orders_while_it_connects_follow_the_reply(self, edge):
        talk = Talk(edge)
        connecting = asyncio.create_task(talk.connect({"channels": ["chat:x"]}))
        await eventually(lambda: talk.connection.session.phase is Phase.CONNECTED)
        talk.connection.server_command(UnsubscribeClient("chat:x", BY_SERVER))
        await connecting
        await eventually(lambda: talk.channels == [])
        assert "connect" in talk.heard[0] and "unsubscribe" in talk.pushes[0]

    async def test_orders_for_a_client_whose_connect_fails_are_forgotten(self, edge):
        edge.broker.go_away()
        talk = Talk(edge)
        talk.say({"id": 1, "connect": {"token": token(channels=["chat:x"])}})
        talk.connection.server_command(subscribe("live:y"))
        talk.connection.server_command(SendToClient(Raw(b"1")))
        assert (await talk.reply(1))["error"]["code"] == 100
        edge.broker.come_back()
        await settled()
        assert len(talk.heard) == 1 and talk.channels == [] and await edge.node.presence.active_channels("") == {}

    async def test_a_client_that_has_not_connected_gets_none(self, edge):
        talk = Talk(edge)
        talk.connection.server_command(SendToClient(Raw(b"1")))
        assert talk.heard == [] and talk.open

    async def test_too_many_orders_end_the_connection(self, talk, monkeypatch):
        monkeypatch.setattr(command_order, "SERVER_COMMANDS_LIMIT", 5)
        talk.transport.stall = True
        for _ in range(6):  # the first fills the socket
            talk.connection.server_command(SendToClient(Raw(b"1")))
        assert talk.open
        talk.connection.server_command(SendToClient(Raw(b"1")))
        assert talk.closed == 3008

    async def test_a_closed_connection_obeys_nobody(self, talk):
        talk.connection.close(codes.FORCE_DISCONNECT)
        talk.connection.server_command(SendToClient(Raw(b"1")))
        assert talk.pushes == []
