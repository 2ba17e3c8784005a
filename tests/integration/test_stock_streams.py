"""The stock JavaScript client on its fallback transports, on two edges; its commands go to the other one."""

from __future__ import annotations

import functools
from typing import Any

import pytest

from tests.support.edges import api, connected, in_seconds, start_pair, token
from tests.support.eventually import eventually
from tests.support.stock_clients import StockClients, data_of, events_of
from tests.support.stock_js import JsClient

pytestmark = pytest.mark.integration


@pytest.fixture(params=[("http_stream", "json"), ("http_stream", "protobuf"), ("sse", "json")], ids="-".join)
def fallback(request, stock: StockClients, monkeypatch: pytest.MonkeyPatch):
    """Makes clients on one of the transports whose stream is at the first edge and whose commands go to the second."""
    transport, encoding = request.param
    monkeypatch.setenv("NODE_OPTIONS", "--experimental-eventsource")  # browsers have it anyway

    def make(stream_at: Any, commands_to: Any, user: str, **options: Any) -> JsClient:
        return stock.make_js(
            [{"transport": transport, "endpoint": f"{stream_at.url}/connection/{transport}"}],
            encoding,
            emulation_endpoint=f"{commands_to.url}/emulation",
            token=token(user, exp=in_seconds(600)),
            **options,
        )

    make.transport = transport  # type: ignore[attr-defined]  # a name to compare with
    return make


def _has(client: JsClient, channel: str, count: int) -> bool:
    return len(data_of(client, channel)) >= count


async def test_it_talks_with_clients_on_websockets(shared_pair, fallback, x):
    a, b = shared_pair
    alice = fallback(a, b, "alice")
    await alice.connect()
    assert events_of(alice, "connected")[0]["transport"] == fallback.transport
    async with connected(b, "bob") as bob:
        for channel in (f"chat:{x}", f"live:{x}"):
            await bob.subscribe(channel)
            await alice.subscribe(channel)
            said = [
                {"n": n, "text": "h\N{LATIN SMALL LETTER E WITH ACUTE}llo\r\n\N{LINE SEPARATOR}"} for n in range(10)
            ]
            for data in said:
                await alice.publish(channel, data)
            assert await bob.publications(channel, 10) == said
            await eventually(functools.partial(_has, alice, channel, 10))
            assert data_of(alice, channel) == said
    assert {event["user"] for event in events_of(alice, "publication")} == {"alice"}
    await alice.unsubscribe(f"live:{x}")
    assert not [event for event in events_of(alice, "connecting") if event["code"]], "in one connection"


async def test_it_comes_back_and_misses_nothing(services, nats_server, fallback):
    a, b = await start_pair(services, nats_server)
    alice = fallback(a, b, "alice")
    await alice.connect()
    await alice.subscribe("chat:x")
    await api(b, "publish", {"channel": "chat:x", "data": 0})
    await eventually(functools.partial(_has, alice, "chat:x", 1))
    a.kill9()
    await eventually(lambda: len(events_of(alice, "connecting")) >= 2)
    for i in range(1, 5):
        await api(b, "publish", {"channel": "chat:x", "data": i})
    a.start()  # its only address; behind a load balancer it would come back at another edge
    await eventually(functools.partial(_has, alice, "chat:x", 5))
    assert data_of(alice, "chat:x") == [0, 1, 2, 3, 4]
    assert [e["recovered"] for e in events_of(alice, "subscribed") if e["was_recovering"]] == [True]


async def test_it_answers_pings_and_reads_why_it_was_closed(services, nats_server, fallback):
    fast = {"FAIRLEAD_CLIENT_PING_INTERVAL": "1s", "FAIRLEAD_CLIENT_PONG_TIMEOUT": "900ms"}
    a, b = await start_pair(services, nats_server, **fast)
    alice = fallback(a, b, "alice")
    await alice.connect()
    await alice.subscribe("chat:x")
    async with connected(b, "clock") as clock:
        for _ in range(3):
            assert await clock.message() == {}
            await clock.send({})
    assert not [event for event in events_of(alice, "connecting") if event["code"]]
    await api(b, "disconnect", {"user": "alice", "disconnect": {"code": 4500, "reason": "enough"}})
    await eventually(lambda: events_of(alice, "disconnected"))
    (end,) = events_of(alice, "disconnected")
    assert (end["code"], end["reason"]) == (4500, "enough")


async def test_a_drained_edge_lets_it_come_back_at_once(services, nats_server, fallback):
    a, b = await start_pair(services, nats_server)
    alice = fallback(a, b, "alice")
    await alice.connect()
    assert await a.stop() == 0
    await eventually(lambda: events_of(alice, "connecting")[-1]["code"] == 1001)
    a.start()
    await eventually(lambda: len(events_of(alice, "connected")) == 2)
