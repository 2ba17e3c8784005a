"""Server-side decisions about a connection, as stock clients take them: channels that it subscribes them to by token or
by API, unsubscribes, disconnects, messages. The API is called on the other edge.
"""

from __future__ import annotations

import itertools

import nats
import pytest

from tests.support.edges import api, arrivals, token
from tests.support.eventually import eventually
from tests.support.stock_clients import KINDS, data_of, events_of, receives, sees
from tests.support.stock_errors import CommandFailed

pytestmark = [pytest.mark.integration, pytest.mark.once]


async def order(edge, method, **call):
    answer = await api(edge, method, call)
    assert answer.json() == {"result": {}}, answer.text


async def publish(edge, channel, *items):
    for data in items:
        answer = await api(edge, "publish", {"channel": channel, "data": data})
        assert "result" in answer.json(), answer.text


def users(client, event, channel):
    return [found["info"]["user"] for found in events_of(client, event, channel)]


async def test_channels_of_the_token_come_with_the_connection_and_lose_nothing(shared_pair, client, other, x):
    a, b = shared_pair
    chat, room = f"chat:{x}", f"room:{x}"
    subs = {chat: {"data": {"topic": 1}}, room: {"info": {"seat": 7}}, f"live:{x}": {}}
    alice = client(a, token=token("alice", subs=subs))
    await alice.connect()
    await sees(alice, "subscribed", count=3)
    assert events_of(alice, "subscribed", chat)[0]["data"] == {"topic": 1}
    assert events_of(alice, "subscribed", chat)[0]["recoverable"]
    assert not events_of(alice, "subscribed", f"live:{x}")[0]["positioned"]
    await eventually(lambda: users(alice, "join", room) == ["alice"])
    assert events_of(alice, "join", room)[0]["info"]["chan_info"] == {"seat": 7}
    bob = other(b, "bob")
    await bob.connect()
    await bob.subscribe(room)
    await bob.publish(room, "hello")
    await bob.unsubscribe(room)
    await eventually(lambda: users(alice, "leave", room) == ["bob"])
    assert users(alice, "join", room) == ["alice", "bob"] and data_of(alice, room) == ["hello"]
    assert events_of(alice, "publication", room)[0]["user"] == "bob"
    await publish(b, chat, 0)
    await publish(b, f"live:{x}", "now")
    await receives(alice, chat, [0])
    await receives(alice, f"live:{x}", ["now"])
    await alice.disconnect()
    await publish(b, chat, 1, 2, 3)
    await alice.connect()
    await receives(alice, chat, [0, 1, 2, 3])
    back = events_of(alice, "subscribed", chat)[1]
    assert back["was_recovering"] and back["recovered"]
    with pytest.raises(CommandFailed):
        await alice.subscribe(chat)
    assert events_of(alice, "unsubscribed", chat)[-1]["code"] == 105, "it has it already"


async def test_a_backend_subscribes_and_unsubscribes_a_user_while_connected(shared_pair, client, x):
    a, b = shared_pair
    channel = f"room:{x}"
    alice = client(a, user := f"alice-{x}")
    await alice.connect()
    await order(b, "subscribe", user=user, channel=channel, data={"welcome": True}, info={"by": "backend"})
    await sees(alice, "subscribed", channel)
    assert events_of(alice, "subscribed", channel)[0]["data"] == {"welcome": True}
    await eventually(lambda: users(alice, "join", channel) == [user])
    assert events_of(alice, "join", channel)[0]["info"]["chan_info"] == {"by": "backend"}
    await publish(b, channel, 1)
    await receives(alice, channel, [1])
    await order(b, "unsubscribe", user=user, channel=channel)
    await sees(alice, "unsubscribed", channel)
    async with arrivals(a, channel) as arrive:
        await publish(b, channel, 2)
        await arrive(2)
    await order(b, "subscribe", user=user, channel=channel)
    await publish(b, channel, 3)
    await receives(alice, channel, [1, 3])
    assert len(events_of(alice, "connecting")) == 1


async def test_a_channel_by_the_api_is_recovered_where_the_backend_says_from(shared_pair, client, x):
    a, b = shared_pair
    channel = f"chat:{x}"
    alice = client(a, user := f"alice-{x}")
    await alice.connect()
    since = (await api(b, "publish", {"channel": channel, "data": 0})).json()["result"]
    await publish(b, channel, 1, 2)
    await order(b, "subscribe", user=user, channel=channel, recover_since=since)
    await receives(alice, channel, [1, 2])


async def test_a_channel_by_the_api_lasts_as_long_as_the_connection_and_one_of_the_token_returns(
    shared_pair, client, x
):
    a, b = shared_pair
    alice = client(a, token=token(user := f"alice-{x}", channels=[f"chat:token-{x}"]))
    await alice.connect()
    await sees(alice, "subscribed", f"chat:token-{x}")
    await order(b, "subscribe", user=user, channel=f"chat:api-{x}")
    await sees(alice, "subscribed", f"chat:api-{x}")
    await order(b, "disconnect", user=user, disconnect={"code": 4000, "reason": "come back"})
    await sees(alice, "connected", count=2)
    await sees(alice, "subscribed", f"chat:token-{x}", count=2)
    await sees(alice, "unsubscribed", f"chat:api-{x}")
    await order(b, "subscribe", user=user, channel=f"chat:api-{x}")
    await sees(alice, "subscribed", f"chat:api-{x}", count=2)


async def test_a_backend_ends_a_subscription_of_the_clients_own(shared_pair, client, x):
    a, b = shared_pair
    alice = client(a, user := f"alice-{x}")
    await alice.connect()
    for name in ("chat", "live"):
        await alice.subscribe(f"{name}:{x}")
    await order(b, "unsubscribe", user=user, channel=f"chat:{x}")
    await sees(alice, "unsubscribed")
    ended = events_of(alice, "unsubscribed", f"chat:{x}")[0]
    assert (ended["code"], ended["reason"]) == (2000, "server unsubscribe")
    await publish(b, f"chat:{x}", "missed")
    await publish(b, f"live:{x}", "still there")
    await receives(alice, f"live:{x}", ["still there"])
    assert data_of(alice, f"chat:{x}") == []
    await alice.subscribe(f"chat:{x}")
    await receives(alice, f"chat:{x}", ["missed"])


@pytest.mark.parametrize("code", [4000, 3011], ids=["of the application", "of the protocol"])
async def test_a_disconnect_that_is_no_goodbye_brings_the_client_back_with_its_channels(shared_pair, client, x, code):
    a, b = shared_pair
    channel = f"chat:{x}"
    alice = client(a, user := f"alice-{x}")
    await alice.connect()
    await alice.subscribe(channel)
    await order(b, "disconnect", user=user, disconnect={"code": code, "reason": "move on"})
    await sees(alice, "connected", count=2)
    assert [(e["code"], e["reason"]) for e in events_of(alice, "connecting")[1:]] == [(code, "move on")]
    await publish(b, channel, 1)
    await receives(alice, channel, [1])
    assert events_of(alice, "subscribed", channel)[1]["recovered"] and not events_of(alice, "disconnected")


@pytest.mark.parametrize(("given", "code"), [({}, 3503), ({"disconnect": {"code": 4500, "reason": "banned"}}, 4500)])
async def test_a_disconnect_for_good_keeps_the_client_away(shared_pair, client, x, given, code):
    a, b = shared_pair
    alice, stays = client(a, user := f"alice-{x}"), client(b, user)
    await alice.connect()
    await stays.connect()
    await alice.subscribe(f"live:{x}")
    spared = events_of(stays, "connected")[0]["client_id"]
    await order(b, "disconnect", user=user, whitelist=[spared], **given)
    await sees(alice, "disconnected")
    assert events_of(alice, "disconnected")[0]["code"] == code
    await stays.publish(f"live:{x}", "to nobody")
    assert len(events_of(alice, "connecting")) == 1 and not events_of(stays, "disconnected")
    await alice.connect()
    await stays.publish(f"live:{x}", 1)
    # Without history the earlier publication may still be under way, and reach her too.
    await eventually(lambda: data_of(alice, f"live:{x}")[-1:] == [1])


async def test_state_that_the_server_calls_invalid_is_fetched_anew(shared_pair, client, x):
    """3014: the SDK asks for another token, forgets its positions, and drops channels that are not in it."""
    a, b = shared_pair
    chat, gone = f"chat:{x}", f"chat:{x}-gone"
    user = f"alice-{x}"
    tokens = itertools.chain([token(user, channels=[chat, gone])], itertools.repeat(token(user, channels=[chat])))
    alice = client(a, get_token=lambda: next(tokens))
    await alice.connect()
    await publish(b, chat, 1)
    await receives(alice, chat, [1])
    await order(b, "disconnect", user=user, disconnect={"code": 3014, "reason": "state invalidated"})
    await sees(alice, "unsubscribed", gone)
    back = events_of(alice, "subscribed", chat)[1]
    assert back["was_recovering"] and not back["recovered"]
    await publish(b, gone, "not for us")
    await publish(b, chat, 2)
    await receives(alice, chat, [1, 2])
    assert data_of(alice, gone) == []


async def test_a_backends_message_does_no_harm_to_a_client_that_knows_none(shared_pair, client, x):
    """The Python SDK's; for the others see `test_stock_javascript`."""
    a, b = shared_pair
    alice = client(a, user := f"alice-{x}")
    await alice.connect()
    await alice.subscribe(f"chat:{x}")
    await order(b, "send", user=user, data={"text": "hello"})
    await publish(b, f"chat:{x}", 1)
    await receives(alice, f"chat:{x}", [1])
    assert len(events_of(alice, "connecting")) == 1


async def test_a_backend_lets_a_connection_expire_and_the_client_returns(shared_pair, client, x):
    a, b = shared_pair
    alice = client(a, user := f"alice-{x}")
    await alice.connect()
    await order(b, "refresh", user=user, expired=True)
    await sees(alice, "connected", count=2)
    assert events_of(alice, "connecting")[1]["code"] == 3005


async def test_a_backend_prolongs_a_connection_with_other_info(shared_pair, client, other, x):
    a, b = shared_pair
    alice, bob = client(a, user := f"alice-{x}"), other(b, "bob")
    await alice.connect()
    await bob.connect()
    await order(b, "refresh", user=user, expire_at=0, info={"name": "new"})
    await alice.subscribe(f"lobby:{x}")
    found = list((await bob.presence(f"lobby:{x}")).values())
    assert [info["conn_info"] for info in found] == [{"name": "new"}]


async def test_a_history_that_is_lost_sends_everybody_back_and_nobody_takes_the_new_one_for_the_old(
    pair, nats_server, stock
):
    """2500 for subscriptions of the client's own, 3010 for those by the server. All kinds at once: it takes seconds."""
    a, b = pair
    clients = []
    for kind in KINDS:
        for alice in (stock.of(kind)(a, "alice"), stock.of(kind)(b, token=token("bob", channels=["chat:x"]))):
            await alice.connect()
            clients.append(alice)
        await clients[-2].subscribe("chat:x")
    await publish(b, "chat:x", "old")
    for alice in clients:
        await receives(alice, "chat:x", ["old"])
    connection = await nats.connect(nats_server.url)
    try:
        for stream in [f"CH_chat_{partition}" for partition in range(2)]:
            await connection.jetstream().delete_stream(stream)
    finally:
        await connection.close()
    nats_server.stop()  # edges that lost it look at once, instead of within ten seconds
    nats_server.start()
    for number, alice in enumerate(clients):
        await sees(alice, "subscribed", "chat:x", count=2)
        back = events_of(alice, "subscribed", "chat:x")[1]
        assert back["was_recovering"] and not back["recovered"]
        if number % 2:
            assert [e["code"] for e in events_of(alice, "connecting")] == [0, 3010]
        else:
            assert [e["code"] for e in events_of(alice, "subscribing", "chat:x")] == [0, 2500]
    await publish(a, "chat:x", "new")
    for alice in clients:
        await receives(alice, "chat:x", ["old", "new"])
