"""Every stock client and `cent` on the running stack, through Traefik, on two edges: what applications do with them.

tests/integration has each client in all its forms; this is about what only a whole stack shows.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator

import cent
import jwt
import nats
import pytest
from nats.aio.msg import Msg

from tests.stack.checkout import Checkout
from tests.stack.fairlead import Fairlead
from tests.support.edges import in_seconds, token
from tests.support.eventually import eventually
from tests.support.plain_http import http_client
from tests.support.stock_clients import KINDS, StockClient, StockClients, data_of, events_of, receives, sees
from tests.support.stock_errors import CommandFailed

pytestmark = [pytest.mark.stack, pytest.mark.timeout(180)]

FURTHER_NAMESPACES = """
[[channel.namespaces]]
name = "feed"
history_size = 100
history_ttl = "1h"
force_recovery = true
allowed_delta_types = ["fossil"]
allow_tags_filter = true
allow_subscribe_for_client = true
allow_publish_for_client = true
[[channel.namespaces]]
name = "state"
history_size = 10
history_ttl = "1h"
force_recovery = true
force_recovery_mode = "cache"
auto_cache_recover = true
allow_subscribe_for_client = true
[[channel.namespaces]]
name = "hooked"
subscribe_hook = true
publish_hook = true
"""
HTTP_STREAMS = (("http_stream", "json"), ("http_stream", "protobuf"), ("sse", "json"))


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checkout]:
    made = Checkout(tmp_path_factory.mktemp("stack") / "checkout", edges=2)
    with (made.root / "deploy/local/fairlead.toml").open("a") as file:
        file.write(FURTHER_NAMESPACES)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FAIRLEAD_CLIENT_CONNECT_HOOK", "true")
        patch.setenv("NODE_OPTIONS", "--experimental-eventsource")  # browsers have it anyway
        yield made
        made.make("down")


@pytest.fixture
def fairlead(checkout: Checkout) -> Fairlead:
    return checkout.up()


@pytest.fixture
async def stock() -> AsyncIterator[StockClients]:
    async with StockClients() as made:
        yield made


def make(stock: StockClients, fairlead: Fairlead, kind: str, user: str, **options: object) -> StockClient:
    options = {"token": token(user, fairlead.token_key, exp=in_seconds(600)), **options}
    return stock.make(kind, fairlead.websocket_url(), **options)


@pytest.fixture
async def clients(fairlead: Fairlead, stock: StockClients) -> dict[str, StockClient]:
    """Two clients of each kind, and the JavaScript ones that do without WebSockets; connected, on both edges."""
    made = {f"{kind}-{n}": make(stock, fairlead, kind, f"{kind}-{n}") for n in (1, 2) for kind in KINDS}
    address = f"http://127.0.0.1:{fairlead.port}"
    for transport, encoding in HTTP_STREAMS:
        user = f"{transport}-{encoding}"
        made[user] = stock.make_js(
            [{"transport": transport, "endpoint": f"{address}/connection/{transport}"}],
            encoding,
            emulation_endpoint=f"{address}/emulation",
            token=token(user, fairlead.token_key),
        )
    for client in made.values():
        await client.connect()

    async def both_edges_have_some() -> None:
        assert min((await fairlead.clients_by_edge()).values()) > 0

    await eventually(both_edges_have_some)
    return made


async def test_everybody_talks_to_everybody(fairlead, clients):
    channel = "chat:everybody"
    watcher, first = next(iter(clients.items()))
    for client in clients.values():
        await client.subscribe(channel)
    published = []
    for user, client in clients.items():
        published.append({"from": user, "text": "\N{GRINNING FACE} \N{SNOWMAN}", "number": 2**53 - 1})
        await client.publish(channel, published[-1], own=len(published) % 2 == 0)
    for client in clients.values():
        await receives(client, channel, published)
        assert {info["user"] for info in (await client.presence(channel)).values()} == set(clients)
        assert await client.presence_stats(channel) == {"num_clients": len(clients), "num_users": len(clients)}
        newest = (await client.history(channel, 2, reverse=True))["publications"]
        assert [pub["data"] for pub in newest] == published[:-3:-1]
    joined = await sees(first, "join", channel, len(clients))
    assert {event["info"]["user"] for event in joined} == set(clients)
    for client in list(clients.values())[1:]:
        await client.unsubscribe(channel)
    left = await sees(first, "leave", channel, len(clients) - 1)
    assert {event["info"]["user"] for event in left} == set(clients) - {watcher}


async def test_differences_filters_and_states_arrive_as_they_were_meant(fairlead, clients):
    feeds = {user: f"feed:{user}" for user in clients}
    published = [{"n": n, "rows": ["\N{SNOWMAN}" * 40, n % 3, "same" * 50]} for n in range(12)]
    for user, client in clients.items():
        await client.subscribe(feeds[user], delta="fossil")
        await client.subscribe("feed:tags", tags_filter={"key": "for", "cmp": "eq", "val": user})
    for data in published:
        channels = list(feeds.values())
        await fairlead.call("broadcast", channels=channels, data=data)
    for user in clients:
        await fairlead.call("publish", channel="feed:tags", data=f"for {user}", tags={"for": user})
        await fairlead.call("publish", channel="state:now", data=f"of {user}")
    for user, client in clients.items():
        await receives(client, feeds[user], published)
        assert await client.deltas(feeds[user]) == len(published) - 1
        await receives(client, "feed:tags", [f"for {user}"])
        await client.subscribe("state:now")
        await receives(client, "state:now", [f"of {user}" for user in list(clients)[-1:]])


async def test_the_server_api_reaches_everybody_wherever_they_are(fairlead, clients):
    for user, client in clients.items():
        channel = f"chat:of-{user}"
        await fairlead.call("subscribe", user=user, channel=channel, data={"welcome": user})
        assert (await sees(client, "subscribed", channel))[0]["data"] == {"welcome": user}
        await fairlead.call("publish", channel=channel, data=1)
        await receives(client, channel, [1])
        await fairlead.call("unsubscribe", user=user, channel=channel)
        await sees(client, "unsubscribed", channel)
        await fairlead.call("disconnect", user=user, disconnect={"code": 4000, "reason": "another edge, please"})
        await sees(client, "connected", count=2)
        assert events_of(client, "connecting")[1]["code"] == 4000
        await fairlead.call("disconnect", user=user)
        assert (await sees(client, "disconnected"))[0]["code"] == 3503
        assert data_of(client, channel) == [1]


@pytest.mark.parametrize("transport", ["http_stream", "sse", "uni_http_stream", "uni_sse"])
async def test_a_stream_has_a_socket_of_its_own(fairlead, transport):
    """Otherwise Traefik breaks off one stream of 200 at its start: see its routes."""
    connect = {"token": token("alice", fairlead.token_key, exp=in_seconds(600))}
    body = connect if transport.startswith("uni_") else {"id": 1, "connect": connect}
    address = f"http://127.0.0.1:{fairlead.port}"
    async with http_client() as http:
        async with http.stream("POST", f"{address}/connection/{transport}", json=body) as stream:
            assert stream.status_code == 200
            assert stream.headers["connection"] == "close"
            seen, parts = "", stream.aiter_text()
            while '"client"' not in seen:  # an event stream begins with a comment
                seen += await anext(parts)
        assert "connection" not in (await http.post(f"{address}/emulation", json={})).headers


async def test_a_backend_on_nats_answers_and_decides(checkout, fairlead, stock, clients):
    connection = await nats.connect(f"nats://127.0.0.1:{checkout.ports['NATS_PORT']}")

    async def echo(message: Msg) -> None:
        await message.respond(message.data)

    async def decide(message: Msg) -> None:
        await message.respond(json.dumps(json.loads(message.data)["data"]["answer"]).encode())

    try:
        await connection.subscribe("rpc.echo", "backend", cb=echo)
        await connection.subscribe("hook.>", "backend", cb=decide)
        await connection.rtt()
        for user, client in clients.items():
            assert await client.rpc("echo", {"hello": user}) == {"hello": user}
            with pytest.raises(CommandFailed) as refused:
                await client.rpc("nothing", {})
            assert refused.value.code == 108
            channel = f"hooked:{user}"
            await client.subscribe(channel, data={"answer": {"result": {"data": "come in"}}})
            assert events_of(client, "subscribed", channel)[0]["data"] == "come in"
            await client.publish(channel, {"answer": {"result": {"data": "changed"}}})
            await receives(client, channel, ["changed"])
            with pytest.raises(CommandFailed) as refused:
                await client.publish(channel, {"answer": {"error": {"code": 403, "message": "no"}}})
            assert refused.value.code == 403
        for kind in KINDS:
            guest = make(
                stock, fairlead, kind, "", token="", data={"answer": {"result": {"user": kind, "data": "welcome"}}}
            )
            await guest.connect()
            assert events_of(guest, "connected")[0]["data"] == "welcome"
    finally:
        await connection.close()


async def test_tokens_expire_and_are_replaced(fairlead, stock):
    clients = []
    for kind in KINDS:
        channel = f"$chat:{kind}"
        claims = {"sub": kind, "channel": channel, "exp": in_seconds(600)}
        of_channel = jwt.encode(claims, fairlead.token_key, algorithm="HS256")
        tokens = [token(kind, fairlead.token_key, exp=in_seconds(seconds)) for seconds in (600, 2, -10)]
        client = make(stock, fairlead, kind, kind, token="", get_token=tokens.pop)
        await client.connect()
        await client.subscribe(channel, get_token=lambda of_channel=of_channel: of_channel)
        clients.append((client, channel, tokens))
    await eventually(lambda: not any(tokens for _, _, tokens in clients))  # all of them were asked for
    for client, channel, _ in clients:
        await fairlead.call("publish", channel=channel, data="still there")
        await receives(client, channel, ["still there"])
        assert len(events_of(client, "connected")) == 1


async def test_cent_calls_every_method(fairlead, stock):
    alice = make(stock, fairlead, "python-protobuf", "alice")
    await alice.connect()
    await alice.subscribe("chat:cent")
    client = cent.AsyncClient(f"http://127.0.0.1:{fairlead.port}/api", fairlead.api_key)
    try:
        first = await client.publish(cent.PublishRequest(channel="chat:cent", data=1, idempotency_key="one"))
        again = await client.publish(cent.PublishRequest(channel="chat:cent", data=1, idempotency_key="one"))
        assert (first.offset, first.epoch) == (again.offset, again.epoch) and first.offset
        broadcast = await client.broadcast(cent.BroadcastRequest(channels=["chat:cent", "nope:x"], data=2))
        done, refused = broadcast.responses
        assert done.result and done.result.offset and refused.error and refused.error.code == 102
        requests = [cent.PublishRequest(channel="chat:cent", data=3), cent.InfoRequest()]
        published, info = (await client.batch(cent.BatchRequest(requests=requests))).replies
        assert isinstance(published, cent.PublishResult) and published.offset
        assert isinstance(info, cent.InfoResult) and {node.name for node in info.nodes} == {"edge-1", "edge-2"}
        await receives(alice, "chat:cent", [1, 2, 3])
        presence = (await client.presence(cent.PresenceRequest(channel="chat:cent"))).presence
        assert [info.user for info in presence.values()] == ["alice"]
        assert (await client.presence_stats(cent.PresenceStatsRequest(channel="chat:cent"))).num_clients == 1
        history = await client.history(cent.HistoryRequest(channel="chat:cent", limit=2, reverse=True))
        assert [pub.data for pub in history.publications] == [3, 2]
        found = (await client.channels(cent.ChannelsRequest(pattern="chat:c*"))).channels
        assert found["chat:cent"].num_clients == 1
        assert len((await client.info(cent.InfoRequest())).nodes) == 2
        await client.history_remove(cent.HistoryRemoveRequest(channel="chat:cent"))
        assert not (await client.history(cent.HistoryRequest(channel="chat:cent", limit=9))).publications
        await client.subscribe(cent.SubscribeRequest(user="alice", channel="chat:more"))
        await sees(alice, "subscribed", "chat:more")
        await client.unsubscribe(cent.UnsubscribeRequest(user="alice", channel="chat:more"))
        await sees(alice, "unsubscribed", "chat:more")
        await client.refresh(cent.RefreshRequest(user="alice", expired=True))
        await sees(alice, "connected", count=2)
        await client.disconnect(cent.DisconnectRequest(user="alice"))
        assert (await sees(alice, "disconnected"))[0]["code"] == 3503
    finally:
        await client.close()
