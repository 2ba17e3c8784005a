"""Connecting with server-side subscriptions: they are part of the reply, and publications meanwhile follow it."""

from __future__ import annotations

import asyncio
import json

import pytest

from proto.events import Refused
from services.edge.framing import formats
from tests.edge.conversation import token
from tests.edge.signers import SECRET
from tests.edge.talks import Talk, connected
from tests.support.cluster import EdgeCluster, TestEdge, settled
from tests.support.eventually import eventually
from tests.support.function_backend import FunctionBackend


@pytest.fixture
async def edge() -> TestEdge:
    return await TestEdge(EdgeCluster(), token_hmac_secret_key=SECRET).start()


def token_of(*channels: str) -> str:
    return token(channels=channels)


async def test_they_are_in_the_connect_reply(edge):
    await edge.publish("chat:x", 0)
    talk = Talk(edge)
    subs = {"chat:x": {"data": {"topic": 1}}, "lobby:y": {}, "live:z": {}}
    result = await talk.connect({"subs": subs})
    chat = {"recoverable": True, "positioned": True, "epoch": "epoch1", "offset": 1, "data": {"topic": 1}}
    assert result["subs"] == {"chat:x": chat, "lobby:y": {}, "live:z": {}}
    assert talk.channels == ["chat:x", "lobby:y", "live:z"] and edge.node.subscriptions == 3
    await edge.publish("chat:x", 1)
    await edge.publish("live:z", "now")
    await eventually(lambda: (talk.values("chat:x"), talk.values("live:z")) == ([1], ["now"]))


async def test_publications_meanwhile_follow_the_reply(edge, monkeypatch):
    """The second subscription takes its time, and the first channel does not wait."""
    subscribe, go_on = edge.node.subscribe, asyncio.Event()

    async def slow(subscriber, request):
        if request.channel == "chat:slow":
            await go_on.wait()
        return await subscribe(subscriber, request)

    monkeypatch.setattr(edge.node, "subscribe", slow)
    talk = Talk(edge)
    connecting = asyncio.create_task(talk.connect({"channels": ["chat:x", "room:x", "chat:slow"]}))
    await eventually(lambda: edge.node.subscriptions == 2)
    for n in range(3):
        await edge.publish("chat:x", n)
    other = await connected(edge)
    await other.subscribe("room:x")
    await settled()
    assert talk.heard == []
    go_on.set()
    result = await connecting
    assert "publications" not in result["subs"]["chat:x"], "it is caught up by pushes, from where the reply puts it"
    await eventually(lambda: talk.values("chat:x") == [0, 1, 2])
    await edge.publish("chat:x", 3)
    await eventually(lambda: talk.values("chat:x") == [0, 1, 2, 3])
    assert "connect" in talk.heard[0]
    await eventually(lambda: set(talk.members) == {("join", "room:x", talk.id), ("join", "room:x", other.id)})


async def test_its_own_join_comes_too(edge):
    talk = Talk(edge)
    await talk.connect({"channels": ["room:x"]})
    await eventually(lambda: talk.members == [("join", "room:x", talk.id)])


async def test_missed_publications_are_in_the_reply(edge):
    first = await edge.publish("chat:x", 0)
    for n in range(1, 4):
        await edge.publish("chat:x", n)
    talk = Talk(edge)
    at = {"recover": True, "offset": first.offset, "epoch": first.epoch}
    result = await talk.connect({"channels": ["chat:x"]}, subs={"chat:x": at})
    chat = result["subs"]["chat:x"]
    assert (chat["recovered"], chat["was_recovering"], chat["offset"]) == (True, True, first.offset)
    assert [each["data"] for each in chat["publications"]] == [1, 2, 3]
    assert edge.tally.reconnects == {("websocket", "other"): 1}, "it came back"
    await Talk(edge).connect({"channels": ["chat:x"]})
    assert edge.tally.reconnects.total() == 1


async def test_the_client_may_leave_one_but_not_subscribe_it_again(edge):
    talk = Talk(edge)
    await talk.connect({"channels": ["chat:x"]})
    assert await talk.error(subscribe={"channel": "chat:x"}) == 105
    assert await talk.ask(unsubscribe={"channel": "chat:x"}) == {"unsubscribe": {}}
    assert "subscribe" in await talk.ask(subscribe={"channel": "chat:x"})


async def test_where_one_cannot_be_had_the_connect_fails_and_nothing_stays(edge):
    edge.broker.go_away()
    talk = Talk(edge)
    talk.say({"id": 1, "connect": {"token": token_of("chat:x")}})
    error = (await talk.reply(1))["error"]
    assert error["code"] == 100 and error["temporary"]
    assert talk.channels == [] and edge.node.subscriptions == 0 and edge.context.registry.count_of_user("42") == 0
    talk.say({"id": 2, "subscribe": {"channel": "live:x"}})
    await settled()
    assert len(talk.heard) == 1, "it is expected to leave"


async def test_where_only_some_can_be_had_it_leaves_those_again(edge):
    witness = await connected(edge)
    await witness.subscribe("room:x")
    edge.broker.go_away()
    talk = Talk(edge)
    talk.say({"id": 1, "connect": {"token": token_of("room:x", "chat:y")}})  # one is open already, the other is not
    assert (await talk.reply(1))["error"]["code"] == 100
    assert talk.channels == [] and edge.node.subscriptions == 1
    assert list(await edge.node.presence.members("room:x")) == [witness.id]
    edge.broker.come_back()
    await edge.publish("room:x", 1)
    await eventually(lambda: witness.values("room:x") == [1])
    assert len(talk.heard) == 1
    assert witness.members == [("join", "room:x", witness.id)], "it was never there"


@pytest.mark.parametrize("format", [formats.WEBSOCKET_JSON, formats.UNI_WEBSOCKET])
async def test_it_is_the_same_when_a_backend_let_it_in(format):
    channels = ["room:x"]

    def admit(data: bytes, caller: object) -> bytes:
        return json.dumps({"result": {"user": "42", "channels": channels}}).encode()

    backend = FunctionBackend(hooks={"connect": admit})
    edge = await TestEdge(EdgeCluster(), backend=backend, connect_hook=True).start()
    witness = await connected(edge)
    channels.append("chat:y")  # which is not open yet
    edge.broker.go_away()
    talk = Talk(edge, format)
    if format.unidirectional:
        talk.connection.connect_received(b"")
        await eventually(lambda: talk.closed == 3004)
    else:
        talk.say({"id": 1, "connect": {}}, {"id": 2, "subscribe": {"channel": "lobby:x"}})
        assert (await talk.reply(1))["error"]["code"] == 100
        await settled()
        assert len(talk.heard) == 1, "what it said behind is not carried out"
    assert talk.channels == [] and edge.context.registry.of_user("42") == [witness.connection]
    edge.broker.come_back()
    await edge.publish("room:x", 1)
    await eventually(lambda: witness.values("room:x") == [1])
    assert talk.values("room:x") == []
    told = [event for event in edge.sessions.events if getattr(event, "connection", "") == talk.id]
    assert [type(event) for event in told] == [Refused], "it never was a session"


async def test_the_newest_of_a_cache_comes_with_a_server_side_subscription(edge):
    await edge.publish("now:x", "newest")
    result = await Talk(edge).connect({"channels": ["now:x"]})
    now = result["subs"]["now:x"]
    assert now["recovered"] and [each["data"] for each in now["publications"]] == ["newest"], "or SDKs leave it out"


async def test_a_client_that_vanishes_meanwhile_stays_nowhere(edge):
    talk = Talk(edge)
    talk.say({"id": 1, "connect": {"token": token_of("room:x", "chat:y")}})
    talk.connection.lost()
    await settled()
    assert edge.node.subscriptions == 0 and await edge.node.presence.active_channels("") == {}
    assert talk.channels == [] and edge.context.registry.count_of_user("42") == 0 and edge.sessions.events == []


async def test_a_unidirectional_client_gets_a_connect_push_first(edge):
    talk = Talk(edge, formats.UNI_WEBSOCKET)
    await edge.publish("chat:x", 0)
    request = {"token": token_of("chat:x"), "subs": {"live:y": {}}}
    talk.connection.connect_received(json.dumps(request).encode())
    await eventually(lambda: len(talk.heard) == 1)
    assert sorted(talk.heard[0]["connect"]["subs"]) == ["chat:x", "live:y"]
    assert talk.heard[0]["connect"]["client"] == talk.id
    await edge.publish("live:y", 1)
    await eventually(lambda: talk.heard[1:] == [{"channel": "live:y", "pub": {"data": 1}}])


async def test_on_a_stream_the_reply_says_where_commands_go(edge):
    talk = Talk(edge, session="secret")
    result = await talk.connect()
    assert (result["session"], result["node"]) == ("secret", edge.instance)
    assert "session" not in await Talk(edge).connect()
