"""What comes in the middle of something else: a full socket inside of a write, an end while connecting, a defect."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from msgspec import Raw

from proto import codes
from proto.messages import Publication
from services.edge.session.server_commands import SendToClient
from services.edge.session.session import Session
from tests.edge.conversation import token
from tests.edge.signers import SECRET
from tests.edge.talks import Talk, connected
from tests.support.cluster import EdgeCluster, TestEdge, settled
from tests.support.eventually import eventually
from tests.support.function_backend import FunctionBackend


@pytest.fixture
async def edge() -> TestEdge:
    return await TestEdge(EdgeCluster(), token_hmac_secret_key=SECRET).start()


@pytest.fixture
def go_on(edge: TestEdge, monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    return slow_to_subscribe(edge, monkeypatch)


def slow_to_subscribe(edge: TestEdge, monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """Until the event is set, subscribes to "chat:slow" wait."""
    subscribe, go_on = edge.node.subscribe, asyncio.Event()

    async def slow(subscriber: Any, request: Any) -> Any:
        if request.channel == "chat:slow":
            await go_on.wait()
        return await subscribe(subscriber, request)

    monkeypatch.setattr(edge.node, "subscribe", slow)
    return go_on


def say_connect(talk: Talk, *channels: str) -> None:
    talk.say({"id": 1, "connect": {"token": token(channels=channels)}})


def broken(*_: object) -> None:
    raise RuntimeError("a defect")


class TestFullSocket:
    async def test_in_the_middle_of_what_waited_it_stops_reading_again(self, edge):
        talk = await connected(edge)
        talk.transport.stall = True
        for n in range(4):
            talk.connection.server_command(SendToClient(Raw(b"%d" % n)))
        assert not talk.transport.reading
        talk.transport.stall = True
        talk.connection.resume_writing()
        await eventually(lambda: [push["message"]["data"] for push in talk.pushes] == [0, 1, 2, 3])
        assert not talk.transport.reading
        talk.connection.resume_writing()
        await eventually(lambda: talk.transport.reading)

    async def test_while_connecting_a_client_that_is_refused_is_read_from_once_it_has_drained(self, edge):
        edge.broker.go_away()
        talk = Talk(edge)
        say_connect(talk, "chat:x")
        talk.connection.pause_writing()
        assert not talk.transport.reading
        assert (await talk.reply(1))["error"]["code"] == 100
        talk.connection.resume_writing()
        await eventually(lambda: talk.transport.reading)

    async def test_while_the_connect_hook_decides_nothing_precedes_the_reply_to_connect(self, monkeypatch):
        asked, decide = asyncio.Event(), asyncio.Event()

        async def admit(data: bytes, caller: object) -> bytes:
            asked.set()
            await decide.wait()
            return json.dumps({"result": {"user": "42", "channels": ["chat:x", "chat:slow"]}}).encode()

        backend = FunctionBackend(hooks={"connect": admit})
        edge = await TestEdge(EdgeCluster(), backend=backend, connect_hook=True).start()
        go_on = slow_to_subscribe(edge, monkeypatch)
        talk = Talk(edge)
        talk.say({"id": 1, "connect": {}})
        await asked.wait()
        talk.connection.pause_writing()
        decide.set()
        await eventually(lambda: edge.node.subscriptions == 1)
        talk.connection.resume_writing()
        await settled()
        await edge.publish("chat:x", 0)
        await settled()
        assert talk.heard == []
        go_on.set()
        await eventually(lambda: talk.values("chat:x") == [0] and talk.transport.reading)
        assert "connect" in talk.heard[0]

    async def test_while_it_is_closed_nothing_but_the_close_frame_is_written_to_it(self, edge):
        talk = await connected(edge)
        channels = [f"lossy:{n}" for n in range(5)]
        for channel in channels:
            await talk.subscribe(channel)
        for channel in channels:
            edge.node.sync.ephemeral(channel, Publication(Raw(b"1")))
        written = len(talk.transport.frames)
        talk.transport.stall = True
        talk.connection.close(codes.GOING_AWAY)
        assert talk.closed == 1001 and len(talk.transport.frames) == written + 2


class TestConnecting:
    async def test_a_client_that_vanishes_leaves_the_channels_that_it_is_in_at_once(self, edge, go_on):
        talk = Talk(edge)
        say_connect(talk, "room:x", "chat:slow")
        await eventually(lambda: edge.node.subscriptions == 1)
        talk.connection.lost()
        assert edge.node.subscriptions == 0 and await edge.node.presence.members("room:x") == {}
        go_on.set()
        await settled()
        assert edge.node.subscriptions == 0

    async def test_a_client_is_read_from_so_that_its_end_is_noticed(self, edge, go_on):
        talk = Talk(edge)
        say_connect(talk, "room:x", "chat:slow")
        await eventually(lambda: edge.node.subscriptions == 1)
        assert talk.transport.reading


class TestDefect:
    async def test_in_an_effect_no_subscriber_stays_behind(self, edge, monkeypatch):
        talk = await connected(edge)
        await talk.subscribe("live:x")
        with monkeypatch.context() as patched, pytest.raises(RuntimeError):
            patched.setattr(edge.node, "flush", broken)
            talk.say({"id": 5, "unsubscribe": {"channel": "live:x"}})
        talk.connection.lost()
        assert edge.node.subscriptions == 0

    async def test_after_a_client_has_caught_up_it_is_closed_and_reconnects(self, edge, monkeypatch):
        talk = await connected(edge)
        talk.transport.stall = True
        talk.connection.server_command(SendToClient(Raw(b"1")))
        monkeypatch.setattr(Session, "caught_up", broken)
        talk.connection.resume_writing()
        await eventually(lambda: talk.closed == 3004)
