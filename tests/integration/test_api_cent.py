"""Centrifugo's own API library for Python, `cent`, unmodified: each method, sync and async."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable
from typing import Any

import cent
import pytest

from tests.support.edges import API_KEY, connected, in_seconds, wire_client

pytestmark = [pytest.mark.integration, pytest.mark.once]

Call = Callable[[str, Any], Any]


@pytest.fixture(params=["sync", "async"])
async def call(request, shared_pair) -> AsyncIterator[Call]:
    """Calls a method of `cent`'s client of edge-a by its name."""
    address = f"{shared_pair[0].url}/api"
    kind: type[cent.Client | cent.AsyncClient] = cent.Client if request.param == "sync" else cent.AsyncClient
    client = kind(address, API_KEY)

    async def perform(method: str, argument: Any) -> Any:
        bound = getattr(client, method)
        if inspect.iscoroutinefunction(bound):
            return await bound(argument)
        return await asyncio.to_thread(bound, argument)

    yield perform
    closed = client.close()
    if inspect.isawaitable(closed):
        await closed


async def test_publish_and_broadcast(call, shared_pair, x):
    async with connected(shared_pair[1]) as reader:
        await reader.subscribe(f"chat:{x}")
        request = cent.PublishRequest(channel=f"chat:{x}", data={"n": 1}, tags={"k": "v"}, idempotency_key="k")
        stored = await call("publish", request)
        assert stored.offset and stored.epoch
        assert await call("publish", request) == stored
        assert (await reader.push(f"chat:{x}"))["pub"] == {
            "data": {"n": 1},
            "tags": {"k": "v"},
            "offset": stored.offset,
        }
        skipped = cent.PublishRequest(channel=f"chat:{x}", data=2, skip_history=True)
        assert (await call("publish", skipped)).offset == 0
        assert await reader.publications(f"chat:{x}", 1) == [2]
        broadcast = cent.BroadcastRequest(channels=[f"chat:{x}", "nope:x"], data=3)
        done, refused = (await call("broadcast", broadcast)).responses
        assert done.result.offset > stored.offset and refused.error.code == 102
        assert await reader.publications(f"chat:{x}", 1) == [3]
        with pytest.raises(cent.CentApiResponseError) as error:
            await call("publish", cent.PublishRequest(channel="nope:x", data=1))
        assert (error.value.code, error.value.message) == (102, "unknown channel")


async def test_history(call, x):
    for number in range(3):
        await call("publish", cent.PublishRequest(channel=f"chat:{x}", data=number, tags={"n": str(number)}))
    await call("publish", cent.PublishRequest(channel=f"chat:{x}", data=None, b64data="/w=="))
    everything = await call("history", cent.HistoryRequest(channel=f"chat:{x}", limit=-1))
    assert [each.data for each in everything.publications] == [0, 1, 2, None]
    assert everything.publications[0].tags == {"n": "0"}
    since = cent.StreamPosition(offset=everything.publications[1].offset, epoch=everything.epoch)
    request = cent.HistoryRequest(channel=f"chat:{x}", limit=1, since=since, reverse=True)
    assert [each.data for each in (await call("history", request)).publications] == [0]
    await call("history_remove", cent.HistoryRemoveRequest(channel=f"chat:{x}"))
    assert (await call("history", cent.HistoryRequest(channel=f"chat:{x}", limit=-1))).publications == []
    stale = cent.StreamPosition(offset=1, epoch="another")
    with pytest.raises(cent.CentApiResponseError) as error:
        await call("history", cent.HistoryRequest(channel=f"chat:{x}", limit=1, since=stale))
    assert error.value.code == 112


async def test_presence_channels_and_info(call, shared_pair, x):
    channel = f"lobby:{x}"
    async with wire_client(shared_pair[1]) as client:
        number = (await client.connect(f"alice-{x}", info={"name": "Alice"}))["client"]
        await client.subscribe(channel)
        members = (await call("presence", cent.PresenceRequest(channel=channel))).presence
        assert members[number].user == f"alice-{x}" and members[number].conn_info == {"name": "Alice"}
        stats = await call("presence_stats", cent.PresenceStatsRequest(channel=channel))
        assert (stats.num_clients, stats.num_users) == (1, 1)
        channels = (await call("channels", cent.ChannelsRequest(pattern=f"*{x}"))).channels
        assert {name: info.num_clients for name, info in channels.items()} == {channel: 1}
    nodes = (await call("info", cent.InfoRequest())).nodes
    assert {node.name for node in nodes} == {"edge-a", "edge-b"} and all(node.process.rss for node in nodes)


async def test_users(call, shared_pair, x):
    user, channel = f"alice-{x}", f"chat:{x}"
    async with wire_client(shared_pair[1]) as client:
        number = (await client.connect(user))["client"]
        override = cent.ChannelOptionsOverride(join_leave=cent.BoolValue(value=False))
        request = cent.SubscribeRequest(
            user=user, client=number, channel=channel, data={"hi": 1}, info={"role": "x"}, override=override
        )
        await call("subscribe", request)
        assert (await client.push(channel))["subscribe"]["data"] == {"hi": 1}
        await call("unsubscribe", cent.UnsubscribeRequest(user=user, channel=channel))
        assert (await client.push(channel))["unsubscribe"]["code"] == 2000
        await call("refresh", cent.RefreshRequest(user=user, expire_at=in_seconds(1000)))
        assert (await client.message())["push"]["refresh"]["expires"]
        disconnect = cent.Disconnect(code=4500, reason="banned")
        await call("disconnect", cent.DisconnectRequest(user=user, whitelist=["another"], disconnect=disconnect))
        assert await client.closed() == (4500, "banned")


@pytest.mark.parametrize("parallel", [False, True])
async def test_batch(call, x, parallel):
    requests = [
        cent.PublishRequest(channel=f"chat:{x}", data=1),
        cent.BroadcastRequest(channels=[f"chat:{x}-2", f"live:{x}"], data=2),
        cent.PresenceRequest(channel=f"lobby:{x}"),
        cent.InfoRequest(),
        cent.DisconnectRequest(user=f"nobody-{x}"),
    ]
    stored, sent, present, info, gone = (
        await call("batch", cent.BatchRequest(requests=requests, parallel=parallel))
    ).replies
    assert stored.offset and len(sent.responses) == 2 and present.presence == {} and len(info.nodes) == 2
    assert isinstance(gone, cent.DisconnectResult)


async def test_an_error_reply_is_an_error_of_the_library(shared_pair):
    address = f"{shared_pair[0].url}/api"
    stranger = cent.Client(address, "wrong")
    with pytest.raises(cent.CentUnauthorizedError):
        await asyncio.to_thread(stranger.info, cent.InfoRequest())
    stranger.close()
    known = cent.Client(address, API_KEY)
    with pytest.raises(cent.CentTransportError) as error:  # of the paid edition
        await asyncio.to_thread(known.block_user, cent.BlockUserRequest(user="x"))
    assert error.value.status_code == 404
    known.close()
