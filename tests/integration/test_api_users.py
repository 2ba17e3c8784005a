"""The server API's methods on users, called on one edge and seen by connections of the user on both."""

from __future__ import annotations

import base64

import pytest

from tests.support.edges import api, connected, in_seconds, wire_client
from tests.support.eventually import eventually
from tests.support.http_streams import streaming

pytestmark = [pytest.mark.integration, pytest.mark.once, pytest.mark.usefixtures("encoding")]


async def done(edge, method, **call):
    """A call that succeeds, and has no result to speak of."""
    assert (await api(edge, method, call)).json() == {"result": {}}


async def error(edge, method, **call):
    return (await api(edge, method, call)).json()["error"]["code"]


async def history(edge, channel):
    return (await api(edge, "history", {"channel": channel, "limit": -1})).json()["result"]


async def nobody_in(edge, pattern):
    assert (await api(edge, "channels", {"pattern": pattern})).json() == {"result": {"channels": {}}}


# --- subscribe ------------------------------------------------------------------------------------------------------


async def test_a_user_s_connections_are_subscribed_wherever_they_are_and_get_what_is_published(shared_pair, x):
    a, b = shared_pair
    channel, user = f"chat:{x}", f"alice-{x}"
    await api(a, "publish", {"channel": channel, "data": "before"})
    async with connected(a, user) as one, connected(b, user) as two, connected(b, f"bob-{x}") as other:
        await done(a, "subscribe", user=user, channel=channel, data={"hello": 1})
        top = await history(a, channel)
        for client in (one, two):
            push = await client.push(channel)
            assert push["subscribe"] == {
                "recoverable": True,
                "positioned": True,
                "epoch": top["epoch"],
                "offset": top["offset"],
                "data": {"hello": 1},
            }
        await api(a, "publish", {"channel": channel, "data": "for alice"})
        assert await one.publications(channel, 1) == ["for alice"] == await two.publications(channel, 1)
        assert await other.ask(unsubscribe={"channel": channel}) == {"unsubscribe": {}}  # nothing came before it
        again = await one.ask(subscribe={"channel": channel})
        assert again["error"]["code"] == 105, "a server-side subscription is one"


async def test_a_subscription_recovers_from_where_the_backend_says(shared_pair, x):
    a, b = shared_pair
    channel, user = f"chat:{x}", f"alice-{x}"
    for number in range(5):
        await api(a, "publish", {"channel": channel, "data": number})
    kept = await history(a, channel)
    async with connected(b, user) as client:
        since = {"offset": kept["publications"][1]["offset"], "epoch": kept["epoch"]}
        await done(a, "subscribe", user=user, channel=channel, recover_since=since)
        assert (await client.push(channel))["subscribe"]["recoverable"]
        assert await client.publications(channel, 3) == [2, 3, 4]


async def test_one_client_of_a_user_is_subscribed_with_info_and_overrides(shared_pair, x):
    a, b = shared_pair
    channel, user = f"lobby:{x}", f"alice-{x}"
    info = base64.b64encode(b'{"role": "admin"}').decode()
    async with wire_client(b) as one, connected(b, user) as two:
        number = (await one.connect(user))["client"]
        override = {"force_push_join_leave": {"value": True}}
        await done(a, "subscribe", user=user, client=number, channel=channel, b64info=info, override=override)
        assert "subscribe" in await one.push(channel)
        member = {"user": user, "client": number, "chan_info": {"role": "admin"}}
        assert (await one.push(channel))["join"] == {"info": member}
        assert (await api(a, "presence", {"channel": channel})).json()["result"]["presence"] == {number: member}
        assert await two.ask(unsubscribe={"channel": channel}) == {"unsubscribe": {}}


@pytest.mark.parametrize(
    ("call", "code"),
    [
        ({"channel": "nope:x"}, 102),
        ({"channel": ""}, 107),
        ({"channel": "chat:" + "x" * 300}, 107),
        ({"channel": "chat:x", "b64info": "!"}, 107),
        ({"channel": "chat:x", "b64data": base64.b64encode(b"no json").decode()}, 107),
        ({"channel": "chat:x", "expire_at": 1}, 107),
    ],
)
async def test_a_subscribe_that_cannot_be_done(shared_edge, call, code):
    assert await error(shared_edge, "subscribe", user="alice", **call) == code


async def test_users_who_are_not_here_are_no_error(shared_edge, x):
    user = f"nobody-{x}"
    await done(shared_edge, "subscribe", user=user, channel=f"chat:{x}")
    await done(shared_edge, "unsubscribe", user=user, channel=f"chat:{x}")
    await done(shared_edge, "unsubscribe", user=user)
    await done(shared_edge, "disconnect", user=user)
    await done(shared_edge, "refresh", user=user, expire_at=in_seconds(100))
    await done(shared_edge, "send", user=user, data=1)


# --- unsubscribe ----------------------------------------------------------------------------------------------------


async def test_a_user_is_unsubscribed_from_one_channel_or_from_all(shared_pair, x):
    a, b = shared_pair
    user = f"alice-{x}"
    channels = [f"chat:{x}", f"live:{x}", f"big:{x}"]
    async with connected(a, user) as one, connected(b, user) as two, connected(b, f"bob-{x}") as other:
        for client in (one, two, other):
            for channel in channels:
                await client.subscribe(channel)
        await done(b, "unsubscribe", user=user, channel=channels[0])
        for client in (one, two):
            assert (await client.push(channels[0]))["unsubscribe"] == {"code": 2000, "reason": "server unsubscribe"}
        await done(b, "unsubscribe", user=user)
        for client in (one, two):
            pushes = [(await client.message())["push"] for _ in range(2)]
            assert {push["channel"] for push in pushes} == set(channels[1:])
            assert all(push["unsubscribe"]["code"] == 2000 for push in pushes)
        for channel in channels:
            await api(a, "publish", {"channel": channel, "data": channel})
            assert await other.publications(channel, 1) == [channel]
        for client in (one, two):
            await client.subscribe(channels[0])  # the reply is the next thing: no publication came
    await nobody_in(a, f"*{x}")


async def test_an_unsubscribe_may_name_one_client(shared_pair, x):
    a, b = shared_pair
    user, channel = f"alice-{x}", f"chat:{x}"
    async with wire_client(a) as one, connected(b, user) as two:
        number = (await one.connect(user))["client"]
        for client in (one, two):
            await client.subscribe(channel)
        await done(b, "unsubscribe", user=user, channel=channel, client=number)
        assert (await one.push(channel))["unsubscribe"]["code"] == 2000
        await api(a, "publish", {"channel": channel, "data": 1})
        assert await two.publications(channel, 1) == [1]


# --- disconnect -----------------------------------------------------------------------------------------------------


async def test_a_user_is_disconnected_everywhere_and_others_stay(shared_pair, x):
    a, b = shared_pair
    user = f"alice-{x}"
    async with connected(a, user) as one, connected(b, user) as two, connected(b, f"bob-{x}") as other:
        await done(b, "disconnect", user=user)
        for client in (one, two):
            assert await client.closed() == (3503, "force disconnect")
        await other.subscribe(f"chat:{x}")


async def test_a_disconnect_may_spare_clients_and_say_why(shared_pair, x):
    a, b = shared_pair
    user = f"alice-{x}"
    async with wire_client(a) as one, wire_client(b) as two, connected(b, user) as three:
        stays = (await one.connect(user))["client"]
        goes = (await two.connect(user))["client"]
        await done(a, "disconnect", user=user, client=goes, disconnect={"code": 4001, "reason": "elsewhere"})
        assert await two.closed() == (4001, "elsewhere")
        await done(b, "disconnect", user=user, whitelist=[stays], disconnect={"code": 0, "reason": ""})
        assert await three.closed() == (3503, "force disconnect")
        await one.subscribe(f"chat:{x}")


@pytest.mark.parametrize(
    "disconnect",
    [
        {"code": 1000, "reason": "too low"},
        {"code": 5000, "reason": "too high"},
        {"code": 4001},
        {"reason": "without a code"},
        {"code": 4001, "reason": "\N{GRINNING FACE}" * 31},
        {"code": 4001, "reason": "7"},
        {"code": 4001, "reason": '{"code":1}'},
    ],
)
async def test_a_close_code_that_sdks_do_not_take_is_refused(shared_edge, disconnect):
    assert await error(shared_edge, "disconnect", user="alice", disconnect=disconnect) == 107


# --- refresh --------------------------------------------------------------------------------------------------------


async def test_a_refresh_tells_the_client_when_it_expires_now(shared_pair, x):
    a, b = shared_pair
    user = f"alice-{x}"
    async with wire_client(a) as one, connected(b, user) as two:
        await one.connect(user, exp=in_seconds(1000))
        await done(b, "refresh", user=user, expire_at=in_seconds(5000))
        for client in (one, two):
            push = (await client.message())["push"]["refresh"]
            assert push["expires"] and 4900 < push["ttl"] <= 5001
        await done(b, "refresh", user=user)
        for client in (one, two):
            assert (await client.message())["push"] == {"refresh": {}}, "it never expires"


async def test_a_refresh_changes_what_others_see_from_then_on(shared_pair, x):
    a, b = shared_pair
    user, channel = f"alice-{x}", f"lobby:{x}"
    async with wire_client(b) as client:
        number = (await client.connect(user, info={"name": "Alice"}))["client"]
        await done(a, "refresh", user=user, info={"name": "Alice the second"})
        await client.message()
        await client.subscribe(channel)
        members = (await api(a, "presence", {"channel": channel})).json()["result"]["presence"]
        assert members[number]["conn_info"] == {"name": "Alice the second"}


async def test_a_connection_that_has_expired_is_closed(shared_pair, x):
    a, b = shared_pair
    async with connected(a, f"alice-{x}") as one, connected(b, f"alice-{x}") as two:
        await done(b, "refresh", user=f"alice-{x}", expired=True)
        for client in (one, two):
            assert await client.closed() == (3005, "connection expired")


# --- send -----------------------------------------------------------------------------------------------------------


async def test_a_message_outside_of_channels_reaches_the_user_s_connections(shared_pair, x):
    a, b = shared_pair
    user = f"alice-{x}"
    async with wire_client(a) as one, connected(b, user) as two, connected(b, f"bob-{x}") as other:
        number = (await one.connect(user))["client"]
        await done(b, "send", user=user, data={"n": 1})
        for client in (one, two):
            assert (await client.message()) == {"push": {"message": {"data": {"n": 1}}}}
        await done(b, "send", user=user, client=number, b64data=base64.b64encode(b'"only you"').decode())
        assert (await one.message()) == {"push": {"message": {"data": "only you"}}}
        for client in (two, other):
            assert await client.ask(unsubscribe={"channel": "chat:x"}) == {"unsubscribe": {}}
    assert await error(a, "send", user=user) == 107
    assert await error(a, "send", user=user, b64data=base64.b64encode(b"no json").decode()) == 107


async def test_an_http_stream_may_be_named_by_its_session(shared_pair, x):
    a, b = shared_pair
    user = f"alice-{x}"
    async with streaming(a, "sse", user) as one, streaming(b, "sse", user) as two:
        await done(b, "send", user=user, session=one.session, data="only you")
        assert (await one.message()) == {"push": {"message": {"data": "only you"}}}
        await done(b, "disconnect", user=user, session=one.session)
        assert await one.closed() == (3503, "force disconnect")
        await two.subscribe(f"chat:{x}")


async def test_anonymous_connections_are_those_of_the_empty_user(shared_pair, x):
    a, b = shared_pair
    async with wire_client(b) as client, connected(b, f"alice-{x}") as other:
        number = (await client.connect(""))["client"]
        await done(a, "send", user="", client=number, data=1)
        assert (await client.message()) == {"push": {"message": {"data": 1}}}
        await done(a, "disconnect", user=f"alice-{x}", client=number)
        assert await client.ask(unsubscribe={"channel": "chat:x"}) == {"unsubscribe": {}}
        await done(a, "disconnect", user="", client=number)
        assert (await client.closed())[0] == 3503
        await other.subscribe(f"chat:{x}")


async def test_a_silent_edge_fails_the_call_and_a_dead_one_does_not(pair, x):
    a, b = pair
    async with connected(a, "alice") as client:
        b.pause()
        assert await error(a, "send", user="alice", data=1) == 100
        b.resume()
        await client.message()
        b.kill9()

        async def it_is_done_again() -> None:
            await done(a, "send", user="alice", data=2)

        await eventually(it_is_done_again)
        assert (await client.message())["push"]["message"]["data"] == 2
