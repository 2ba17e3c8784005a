"""The timing wheel and a connection: pings, expiries, and the backend that extends it."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from services.edge.framing import formats
from services.edge.framing.wire import PING
from tests.edge.conversation import token
from tests.edge.signers import SECRET
from tests.edge.talks import Talk, connected
from tests.support.cluster import START, EdgeCluster, TestEdge, settled
from tests.support.eventually import eventually
from tests.support.function_backend import FunctionBackend
from tests.support.transport import frames_in


def at(edge: TestEdge, seconds: float) -> None:
    """The time in seconds after the start."""
    edge.clock.time = START + seconds
    edge.context.timing_wheel.turn(edge.clock.time)


async def strict(backend: FunctionBackend | None = None, **section: object) -> TestEdge:
    """An edge where tokens expire, without pings unless `section` sets them."""
    options: dict[str, Any] = {"insecure": False, "token_hmac_secret_key": SECRET, "ping_interval": 0} | section
    return await TestEdge(EdgeCluster(), backend=backend, **options).start()


class TestSubscriptions:
    async def subscribed(self, edge: TestEdge, channel: str = "chat:x") -> Talk:
        talk = await connected(edge, sub="42")
        result = await talk.subscribe(channel, token=token(channel=channel, exp=START + 60))
        assert (result["expires"], result["ttl"]) == (True, 60)
        return talk

    async def test_an_expired_subscription_is_ended_and_the_client_goes_on(self):
        edge = await strict()
        talk = await self.subscribed(edge)
        at(edge, 84)
        assert talk.channels == ["chat:x"]
        at(edge, 85.25)
        assert talk.pushes == [{"channel": "chat:x", "unsubscribe": {"code": 2501, "reason": "subscription expired"}}]
        assert talk.channels == [] and talk.open
        await talk.subscribe("chat:x", token=token(channel="chat:x", exp=START + 600))

    async def test_a_refreshed_subscription_goes_on(self):
        edge = await strict()
        talk = await self.subscribed(edge)
        refreshed = token(channel="chat:x", exp=START + 300)
        answer = await talk.ask(sub_refresh={"channel": "chat:x", "token": refreshed})
        assert answer == {"sub_refresh": {"expires": True, "ttl": 300}}
        at(edge, 100)
        assert talk.channels == ["chat:x"]
        at(edge, 325.25)
        assert talk.channels == []

    async def test_a_subscription_that_is_given_an_end_expires(self):
        """It had no expiry before, so the wheel had no reason to look at it."""
        edge = await strict()
        talk = await connected(edge, sub="42")
        await talk.subscribe("chat:x", token=token(channel="chat:x"))
        await talk.ask(sub_refresh={"channel": "chat:x", "token": token(channel="chat:x", exp=START + 30)})
        at(edge, 55.25)
        assert talk.channels == []

    async def test_many_expire_one_after_the_other(self):
        edge = await strict()
        talk = await connected(edge, sub="42")
        for n in range(5):
            await talk.subscribe(f"live:{n}", token=token(channel=f"live:{n}", exp=START + 60))
        for n in range(5):
            at(edge, 85.25 + n * 0.25)
        assert talk.channels == [] and len(talk.pushes) == 5


class TestConnections:
    async def test_an_expired_connection_is_closed_after_a_grace_period(self):
        edge = await strict()
        talk = await connected(edge, sub="42", exp=START + 60)
        at(edge, 84)
        assert talk.open
        at(edge, 85.25)
        assert talk.closed == 3005

    async def test_a_refreshed_connection_goes_on_until_its_new_end(self):
        for new, end in ((300, 325), (70, 95)):
            edge = await strict()
            talk = await connected(edge, sub="42", exp=START + 100)
            answer = (await talk.ask(refresh={"token": token(exp=START + new)}))["refresh"]
            assert (answer["expires"], answer["ttl"], answer["client"]) == (True, new, talk.id)
            at(edge, end - 1)
            assert talk.open
            at(edge, end + 0.25)
            assert talk.closed == 3005

    async def test_refreshed_with_other_channels_it_comes_back(self):
        edge = await strict()
        talk = await connected(edge, sub="42", exp=START + 60, channels=["chat:x"])
        talk.say({"id": 5, "refresh": {"token": token(exp=START + 90, channels=["chat:y"])}})
        assert talk.closed == 3010

    async def test_without_a_connect_it_is_stale(self):
        edge = await strict()
        talk = Talk(edge)
        at(edge, 10.25)
        assert talk.closed == 3502

    async def test_a_refused_one_that_stays_is_stale_too(self):
        edge = await strict()
        talk = Talk(edge)
        talk.say({"id": 1, "connect": {"token": token(exp=START)}})
        assert (await talk.reply(1))["error"]["code"] == 109
        at(edge, 10.25)
        assert talk.closed == 3502

    async def test_a_client_that_does_not_close_its_end_is_cut_off(self):
        edge = await strict()
        talk = Talk(edge)
        at(edge, 10.25)
        assert not talk.transport.aborted
        at(edge, 12.5)
        assert talk.transport.aborted


class TestTheWallClock:
    """It is set, or goes on alone while the machine is suspended."""

    async def test_ends_a_connection_also_where_nothing_else_looks_after_it(self):
        edge = await strict()
        expiring, lasting = await connected(edge, sub="42", exp=START + 36_000), await connected(edge, sub="42")
        edge.clock.ahead_s = 36_000 + 26
        at(edge, 30.25)
        assert expiring.closed == 3005 and lasting.open

    async def test_moves_no_timer(self):
        edge = await strict(ping_interval=25)
        talk = await connected(edge, sub="42")
        at(edge, 25.25)
        pings = len(talk.transport.frames)
        for edge.clock.ahead_s in (36_000, -36_000):
            at(edge, 26)
            assert talk.open and len(talk.transport.frames) == pings
        at(edge, 33.5)
        assert talk.closed == 3012


class TestPings:
    async def test_pings_in_each_encoding(self):
        edge = await strict(ping_interval=25)
        text, binary = await connected(edge, sub="42"), await connected(edge, formats.WEBSOCKET_PROTOBUF, sub="42")
        native = Talk(edge)
        native.connection.session.state.native_pings = True
        await native.connect({"sub": "42"})
        at(edge, 25.25)
        assert text.transport.frames[-1] == formats.WEBSOCKET_JSON.ping
        assert binary.transport.frames[-1] == formats.WEBSOCKET_PROTOBUF.ping
        assert frames_in(native.transport.frames[-1]) == [(PING, b"")]
        text.say({})
        at(edge, 33.5)
        assert (text.closed, binary.closed, native.closed) == (0, 3012, 3012)

    async def test_a_client_that_cannot_take_the_ping_is_not_blamed(self):
        edge = await strict(ping_interval=25)
        talk = await connected(edge, sub="42")
        talk.transport.stall = True
        at(edge, 25.25)  # the ping fills the socket
        at(edge, 33.5)
        assert talk.open


class TestRefreshHook:
    """The backend extends the connection; no command waits for it."""

    async def expiring(self, answer: object) -> tuple[TestEdge, Talk, list[dict[str, object]]]:
        asked: list[dict[str, object]] = []

        def refresh(question, caller):
            asked.append(json.loads(question))
            return json.dumps(answer).encode()

        edge = await strict(FunctionBackend(hooks={"refresh": refresh}), refresh_hook=True)
        talk = Talk(edge)
        result = await talk.connect({"sub": "42", "exp": START + 60, "meta": {"m": 1}})
        assert "expires" not in result
        return edge, talk, asked

    async def test_prolonged(self):
        edge, talk, asked = await self.expiring({"result": {"expire_at": START + 120, "info": {"n": 2}}})
        at(edge, 59)
        await settled()
        assert asked == []
        at(edge, 60.25)
        await eventually(lambda: len(asked) == 1)
        assert (asked[0]["user"], asked[0]["client"], asked[0]["meta"]) == ("42", talk.id, {"m": 1})
        await eventually(lambda: bytes(talk.connection.session.state.info().conn_info) == b'{"n": 2}')
        at(edge, 119)
        await settled()
        assert len(asked) == 1 and talk.open
        at(edge, 125.25)
        await eventually(lambda: len(asked) == 2)
        assert talk.pushes == [], "the client has nothing to do with it"

    async def test_expired(self):
        edge, talk, _ = await self.expiring({"result": {"expired": True}})
        at(edge, 60.25)
        await eventually(lambda: talk.closed == 3005)

    async def test_expelled(self):
        edge, talk, _ = await self.expiring({"disconnect": {"code": 4501, "reason": "banned"}})
        at(edge, 60.25)
        await eventually(lambda: talk.closed == 4501)

    async def test_away_it_is_asked_again_and_after_the_grace_the_connection_ends(self):
        edge, talk, asked = await self.expiring({"result": {}})
        edge.backend.away = True
        for seconds in range(61, 85):
            at(edge, seconds)
            await settled()
        assert talk.open and asked == []
        at(edge, 85.5)
        assert talk.closed == 3005

    async def test_commands_go_on_meanwhile(self):
        go_on = asyncio.Event()

        async def slow(question, caller):
            await go_on.wait()
            return b'{"result":{}}'

        edge = await strict(FunctionBackend(hooks={"refresh": slow}), refresh_hook=True)
        talk = await connected(edge, sub="42", exp=START + 60)
        at(edge, 60.25)
        await settled()
        await talk.subscribe("chat:x", token=token(channel="chat:x"))
        go_on.set()
        await settled()
        at(edge, 1000)
        assert talk.channels == ["chat:x"] and talk.open, "it never expires now"

    async def test_a_client_that_leaves_meanwhile_hurts_nobody(self):
        edge, talk, asked = await self.expiring({"result": {"expired": True}})
        at(edge, 60.25)
        talk.connection.lost()
        await eventually(lambda: len(asked) == 1)
        await settled()
        assert talk.closed == 0 and set(edge.context.registry) == set()


@pytest.mark.parametrize("seconds", [0, 100])
async def test_a_connection_that_is_gone_is_not_on_the_wheel(seconds):
    edge = await strict()
    talk = await connected(edge, sub="42", exp=START + 600)
    talk.connection.lost()
    at(edge, seconds)
    assert len(edge.context.timing_wheel) == 0


async def test_a_pong_that_waits_behind_a_slow_command_is_not_missed(monkeypatch):
    edge = await TestEdge(EdgeCluster()).start()
    go_on = asyncio.Event()

    async def slow(*arguments, **more):
        await go_on.wait()

    monkeypatch.setattr(edge.node, "publish", slow)
    talk = await connected(edge)
    at(edge, 25)
    talk.say({"id": 5, "publish": {"channel": "chat:x", "data": 1}}, {})
    for second in range(26, 60):
        at(edge, second)
    assert talk.closed == 0
    go_on.set()
    await eventually(lambda: talk.heard[-1] == {"id": 5, "publish": {}})
    at(edge, 70)
    assert talk.closed == 0, "it was answered in time"
