"""Time, as the wire shows it: pings, pongs, stale and expired connections, subscriptions that expire."""

from __future__ import annotations

from typing import Any

import jwt
import pytest

from tests.support.edges import SECRET, api, connected, in_seconds, start_edge, token, wire_client

pytestmark = [pytest.mark.integration, pytest.mark.once, pytest.mark.usefixtures("encoding")]

FAST = {
    "FAIRLEAD_CLIENT_PING_INTERVAL": "1s",
    "FAIRLEAD_CLIENT_PONG_TIMEOUT": "500ms",
    "FAIRLEAD_CLIENT_STALE_CLOSE_DELAY": "500ms",
    "FAIRLEAD_CLIENT_EXPIRED_CLOSE_DELAY": "500ms",
    "FAIRLEAD_CLIENT_EXPIRED_SUB_CLOSE_DELAY": "500ms",
}


def subscription_token(user: str, channel: str, **claims: Any) -> str:
    return jwt.encode({"sub": user, "channel": channel, **claims}, SECRET, algorithm="HS256")


@pytest.fixture
async def hasty(services, nats_server):
    """An edge on which everything happens within a second."""
    return await start_edge(services, nats_server, "hasty", **FAST).ready()


async def test_pings_come_on_a_busy_connection_too_and_who_does_not_answer_is_let_go(hasty):
    async with connected(hasty) as client:
        await client.subscribe("chat:x")
        assert await client.message() == {}
        await client.send({})
        await client.send({"id": 9, "publish": {"channel": "chat:x", "data": 1}})
        while await client.message() != {}:
            pass  # its own publication, before or after the reply
        assert await client.closed() == (3012, "no pong")


async def test_a_pong_that_nobody_asked_for_ends_the_connection(hasty):
    async with connected(hasty) as client:
        await client.send({})
        assert await client.closed() == (3501, "bad request")


async def test_a_client_that_does_not_connect_is_stale(hasty):
    async with wire_client(hasty) as client:
        assert await client.closed() == (3502, "stale")


async def test_a_connection_that_is_not_refreshed_expires(hasty):
    async with wire_client(hasty) as client:
        result = await client.connect(exp=in_seconds(2))
        assert result["expires"] and result["ttl"] >= 1
        assert await client.closed_after_pings() == (3005, "connection expired")


async def test_a_subscription_expires_and_may_be_taken_up_again(hasty):
    async with connected(hasty) as client:
        good = subscription_token("alice", "closed:x", exp=in_seconds(2))
        result = await client.subscribe("closed:x", token=good)
        assert result["expires"] and 2 <= result["ttl"] <= 3, "rounded up"
        longer = subscription_token("alice", "closed:x", exp=in_seconds(3))
        refreshed = (await client.ask(sub_refresh={"channel": "closed:x", "token": longer}))["sub_refresh"]
        assert refreshed["expires"] and 2 <= refreshed["ttl"] <= 4
        push = await client.push("closed:x")
        assert push["unsubscribe"] == {"code": 2501, "reason": "subscription expired"}
        assert (await client.ask(sub_refresh={"channel": "closed:x", "token": longer}))["error"]["code"] == 103


async def test_a_server_side_subscription_that_expires_ends_the_connection(hasty):
    """It can only come from a backend: tokens have no expiry for single channels of a connection."""
    async with wire_client(hasty) as client:
        await client.connect("alice")
        call = {"user": "alice", "channel": "closed:x", "expire_at": in_seconds(2)}
        assert (await api(hasty, "subscribe", call)).json() == {"result": {}}
        assert "subscribe" in await client.push("closed:x")
        assert await client.closed_after_pings() == (3006, "subscription expired")


async def test_subscription_tokens_are_for_one_channel_user_and_connection(shared_edge, x):
    async with wire_client(shared_edge) as client:
        mine = (await client.connect("alice"))["client"]
        channel = f"$closed:{x}"

        async def error_of(**given: Any) -> Any:
            claims: dict[str, Any] = {"user": "alice", "channel": channel, **given}
            answer = await client.ask(subscribe={"channel": channel, "token": subscription_token(**claims)})
            return answer.get("error", {}).get("code")

        assert await error_of(exp=in_seconds(-5)) == 109
        garbled = await client.ask(subscribe={"channel": channel, "token": "a.b.c"})
        assert garbled["error"]["code"] == 103
        of_a_connection = await client.ask(subscribe={"channel": channel, "token": token("alice")})
        assert of_a_connection["error"]["code"] == 103
        assert await error_of(client=mine) is None
    for wrong in ({"user": "bob"}, {"channel": "$closed:other"}, {"client": "somebody"}):
        async with connected(shared_edge) as client:
            claims = {"user": "alice", "channel": channel, **wrong}
            await client.send({"id": 1, "subscribe": {"channel": channel, "token": subscription_token(**claims)}})
            assert (await client.closed())[0] == 3500
