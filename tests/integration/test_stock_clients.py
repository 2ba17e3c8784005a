"""The stock Python and JavaScript clients, unmodified, on two edges."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack

import pytest

from tests.support.edges import api, in_seconds, token
from tests.support.eventually import eventually
from tests.support.processes import ServiceProcess
from tests.support.stock_clients import CommandFailed, JsClient, PythonClient, StockClient, data_of, events_of

pytestmark = pytest.mark.integration

Make = Callable[[ServiceProcess, str], StockClient]


@pytest.fixture(params=[PythonClient, JsClient], ids=["python", "js"])
async def client(request: pytest.FixtureRequest) -> AsyncIterator[Make]:
    """Makes clients of one kind; they are closed at the end."""
    async with AsyncExitStack() as stack:

        def make(edge: ServiceProcess, user: str) -> StockClient:
            made: StockClient = request.param(edge.ws_url, token(user, exp=in_seconds(600)))
            stack.push_async_callback(made.close)
            return made

        yield make


def _has(client: StockClient, channel: str, count: int) -> bool:
    return len(data_of(client, channel)) >= count


async def test_subscribe_on_one_edge_publish_on_the_other_received_in_order(shared_pair, client, x):
    a, b = shared_pair
    alice, bob = client(a, "alice"), client(b, "bob")
    await alice.connect()
    await bob.connect()
    for channel in (f"chat:{x}", f"live:{x}"):
        await alice.subscribe(channel)
        await bob.subscribe(channel)
        for i in range(40):
            await bob.publish(channel, {"n": i, "text": "h\N{LATIN SMALL LETTER E WITH ACUTE}llo \N{GRINNING FACE}"})
        for each in (alice, bob):  # a publisher may have its reply before its own publication
            await eventually(functools.partial(_has, each, channel, 40))
        assert [data["n"] for data in data_of(alice, channel)] == list(range(40))
        assert data_of(alice, channel) == data_of(bob, channel)
    assert {event["user"] for event in events_of(alice, "publication")} == {"bob"}


async def test_a_subscription_that_pauses_gets_what_it_missed(shared_pair, client, x):
    a, b = shared_pair
    alice, bob = client(a, "alice"), client(b, "bob")
    for each in (alice, bob):
        await each.connect()
        await each.subscribe(f"chat:{x}")
    await bob.publish(f"chat:{x}", 0)
    await eventually(lambda: data_of(alice, f"chat:{x}") == [0])
    await alice.unsubscribe(f"chat:{x}")
    for i in (1, 2, 3):
        await bob.publish(f"chat:{x}", i)
    await alice.subscribe(f"chat:{x}")
    await bob.publish(f"chat:{x}", 4)
    await eventually(lambda: data_of(alice, f"chat:{x}") == [0, 1, 2, 3, 4])
    last = events_of(alice, "subscribed")[-1]
    assert last["was_recovering"] and last["recovered"]


async def test_a_connection_that_breaks_comes_back_with_everything(shared_pair, client, x):
    a, b = shared_pair
    alice = client(a, "alice")
    await alice.connect()
    await alice.subscribe(f"chat:{x}")
    await alice.disconnect()
    for i in range(5):
        await api(b, "publish", {"channel": f"chat:{x}", "data": i, "tags": {"k": "v"}})
    await alice.connect()
    await eventually(lambda: data_of(alice, f"chat:{x}") == [0, 1, 2, 3, 4])
    assert all(event["tags"] == {"k": "v"} for event in events_of(alice, "publication"))


async def test_history_and_errors_reach_the_application(shared_pair, client, x):
    alice = client(shared_pair[0], "alice")
    await alice.connect()
    with pytest.raises(CommandFailed) as refused:
        await alice.history(f"chat:{x}", 10)
    assert refused.value.code == 103
    await alice.subscribe(f"chat:{x}")
    for i in range(3):
        await alice.publish(f"chat:{x}", i)
    found = await alice.history(f"chat:{x}", 2)
    assert found["data"] == [0, 1] and found["offset"] > 0 and found["epoch"]
    with pytest.raises(CommandFailed) as refused:
        await alice.publish("nope:x", 1)
    assert refused.value.code == 102


async def test_a_drained_edge_is_taken_as_a_reason_to_come_back(pair, client, services):
    a, _ = pair
    alice = client(a, "alice")
    await alice.connect()
    assert await a.stop() == 0
    await eventually(lambda: [e for e in events_of(alice, "connecting") if e["code"] == 1])
    a.start()  # the same address: a restarted edge
    await a.ready()
    await eventually(lambda: len(events_of(alice, "connected")) == 2, within_s=20)
    assert not events_of(alice, "disconnected")
