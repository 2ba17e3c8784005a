"""Features of the JavaScript SDK alone: messages without a channel both ways, batches, a position to begin from."""

from __future__ import annotations

import pytest

from tests.support.edges import api, in_seconds, token
from tests.support.eventually import eventually
from tests.support.stock_clients import StockClients, data_of, events_of, receives, sees
from tests.support.stock_js import JsClient

pytestmark = [pytest.mark.integration, pytest.mark.once]


@pytest.fixture(params=["json", "protobuf"])
def js(request: pytest.FixtureRequest, stock: StockClients):
    def make(edge, user: str, **options) -> JsClient:
        return stock.make_js(edge.ws_url, request.param, token=token(user, exp=in_seconds(600)), **options)

    return make


async def test_a_message_where_nobody_takes_any_ends_the_connection(shared_edge, js):
    alice = js(shared_edge, "alice")
    await alice.connect()
    await alice.send({"mood": "good"})
    (ended,) = await sees(alice, "disconnected")
    assert (ended["code"], ended["reason"]) == (3508, "not available")


async def test_a_backends_message_reaches_every_connection_of_a_user(shared_pair, js, x):
    a, b = shared_pair
    user = f"alice-{x}"
    clients = [js(a, user), js(b, user)]
    for alice in clients:
        await alice.connect()
    answer = await api(a, "send", {"user": user, "data": {"text": "\N{SNOWMAN}"}})
    assert answer.json() == {"result": {}}
    for alice in clients:
        assert (await sees(alice, "message"))[0]["data"] == {"text": "\N{SNOWMAN}"}


async def test_many_publications_in_one_frame_keep_their_order(shared_pair, js, x):
    a, b = shared_pair
    channel = f"chat:{x}"
    alice, bob = js(a, "alice"), js(b, "bob")
    for each in (alice, bob):
        await each.connect()
        await each.subscribe(channel)
    await bob.batch(channel, *range(100))
    for each in (alice, bob):
        await receives(each, channel, list(range(100)))


async def test_a_first_subscription_begins_where_the_application_says(shared_pair, js, x):
    a, b = shared_pair
    channel = f"chat:{x}"
    position = (await api(b, "publish", {"channel": channel, "data": "known"})).json()["result"]
    await api(b, "publish", {"channel": channel, "data": "new"})
    alice = js(a, "alice")
    await alice.connect()
    await alice.subscribe(channel, since=position)
    await receives(alice, channel, ["new"])
    assert events_of(alice, "subscribed", channel)[0]["recovered"]


async def test_a_connect_and_its_subscriptions_travel_together(shared_pair, js, x):
    a, b = shared_pair
    alice = js(a, "alice")
    channels = [f"chat:{x}-{n}" for n in range(20)]
    for channel in channels:
        await alice.subscribe(channel, wait=False)
    await alice.connect()
    for channel in channels:
        await sees(alice, "subscribed", channel)
        await api(b, "publish", {"channel": channel, "data": channel})
    await eventually(lambda: all(data_of(alice, channel) == [channel] for channel in channels))


@pytest.mark.parametrize(("kind", "code"), [("map", 103), ("shared_poll", 108)])
async def test_kinds_of_subscriptions_that_there_are_none_of_are_refused(shared_edge, js, x, kind, code):
    alice = js(shared_edge, "alice")
    await alice.connect()
    await alice.subscribe(f"chat:{x}", wait=False, kind=kind)
    (refused,) = await sees(alice, "unsubscribed", f"chat:{x}")
    assert refused["code"] == code and not events_of(alice, "disconnected")
