"""Features of channels, as stock clients offer them to applications: presence, recovery of each kind, deltas, filters.

The client under test is on one edge, its peers are on the other. Server-side decisions are tested in
`test_stock_server_side`.
"""

from __future__ import annotations

import pytest

from tests.support.edges import api, arrivals, token
from tests.support.eventually import eventually
from tests.support.stock_clients import data_of, events_of, receives, sees
from tests.support.stock_errors import CommandFailed

pytestmark = [pytest.mark.integration, pytest.mark.once]


def users(client, event, channel):
    return [found["info"]["user"] for found in events_of(client, event, channel)]


async def publish(edge, channel, *items, **more):
    """As a backend."""
    for data in items:
        answer = await api(edge, "publish", {"channel": channel, "data": data, **more})
        assert "result" in answer.json(), answer.text


# --- presence -------------------------------------------------------------------------------------------------------


async def test_presence_is_known_on_both_edges_and_joins_and_leaves_are_told(shared_pair, client, other, x):
    a, b = shared_pair
    channel = f"lobby:{x}"
    alice = client(a, token=token("alice", info={"name": "\N{SNOWMAN} Alice"}))
    bob = other(b, "bob")
    await alice.connect()
    await bob.connect()
    await alice.subscribe(channel, join_leave=True)
    await eventually(lambda: users(alice, "join", channel) == ["alice"])
    await bob.subscribe(channel)
    await eventually(lambda: users(alice, "join", channel) == ["alice", "bob"])
    ids = {user: events_of(one, "connected")[0]["client_id"] for user, one in (("alice", alice), ("bob", bob))}
    for one, own in ((alice, False), (alice, True), (bob, False), (bob, True)):
        found = await one.presence(channel, own=own)
        assert {number: info["user"] for number, info in found.items()} == {ids["alice"]: "alice", ids["bob"]: "bob"}
        assert found[ids["alice"]]["conn_info"] == {"name": "\N{SNOWMAN} Alice"}
        assert not found[ids["bob"]]["conn_info"] and not found[ids["bob"]]["chan_info"]
        assert await one.presence_stats(channel, own=own) == {"num_clients": 2, "num_users": 2}
    assert events_of(alice, "join", channel)[0]["info"]["conn_info"] == {"name": "\N{SNOWMAN} Alice"}
    await bob.unsubscribe(channel)
    await eventually(lambda: users(alice, "leave", channel) == ["bob"])
    assert [info["user"] for info in (await bob.presence(channel)).values()] == ["alice"]
    await alice.unsubscribe(channel)

    async def is_empty():  # an unsubscribe of a stock client does not wait for its reply
        return await bob.presence_stats(channel) == {"num_clients": 0, "num_users": 0}

    await eventually(is_empty)
    assert await bob.presence(channel) == {} and not events_of(bob, "join"), "it did not ask for them"


async def test_joins_and_leaves_that_the_namespace_forces_come_without_asking(shared_pair, client, other, x):
    a, b = shared_pair
    channel = f"room:{x}"
    alice, bob = client(a, "alice"), other(b, "bob")
    await alice.connect()
    await alice.subscribe(channel)
    await bob.connect()
    await bob.subscribe(channel)
    await eventually(lambda: users(alice, "join", channel) == ["alice", "bob"])
    await bob.disconnect()
    await eventually(lambda: users(alice, "leave", channel) == ["bob"])


# --- positions and recovery -----------------------------------------------------------------------------------------


async def test_a_client_that_may_choose_gets_the_positions_it_asked_for(shared_pair, client, x):
    a, b = shared_pair
    alice = client(a, "alice")
    await alice.connect()
    for wish in ({}, {"positioned": True}, {"recoverable": True}):
        channel = f"optional:{x}-{'-'.join(wish)}"
        await publish(b, channel, "before")
        await alice.subscribe(channel, **wish)
        subscribed = events_of(alice, "subscribed", channel)[0]
        assert subscribed["positioned"] == bool(wish) and subscribed["recoverable"] == ("recoverable" in wish)
        assert bool(subscribed["position"]) == bool(wish)
        if wish:
            assert subscribed["position"]["offset"] > 0 and subscribed["position"]["epoch"]
        await alice.unsubscribe(channel)
        async with arrivals(a, channel) as arrive:
            await publish(b, channel, "missed")
            await arrive("missed")
        await alice.subscribe(channel)
        await publish(b, channel, "live")
        expected = ["missed", "live"] if "recoverable" in wish else ["live"]
        await receives(alice, channel, expected)
        back = events_of(alice, "subscribed", channel)[1]
        assert back["was_recovering"] == back["recovered"] == ("recoverable" in wish)


async def test_a_failed_recovery_is_told_and_the_channel_goes_on(shared_pair, client, x):
    a, b = shared_pair
    channel = f"chat:{x}"
    alice = client(a, "alice")
    await alice.connect()
    await alice.subscribe(channel)
    await publish(b, channel, 1)
    await receives(alice, channel, [1])
    await alice.unsubscribe(channel)
    async with arrivals(a, channel) as arrive:
        await publish(b, channel, 2, 3)
        assert (await api(b, "history_remove", {"channel": channel})).json() == {"result": {}}
        await publish(b, channel, 4)
        await arrive(2, 3, 4)
    await alice.subscribe(channel)
    back = events_of(alice, "subscribed", channel)[-1]
    assert back["was_recovering"] and not back["recovered"]
    await publish(b, channel, 5)
    await receives(alice, channel, [1, 5])


async def test_an_application_that_knows_its_state_is_asked_for_it_when_recovery_fails(shared_pair, client, x):
    """`getState`, which makes SDKs have a failed recovery refused with error 112."""
    a, b = shared_pair
    channel = f"chat:{x}"
    position = (await api(b, "publish", {"channel": channel, "data": "state"})).json()["result"]
    await publish(b, channel, "since")
    asked = []

    def state():
        asked.append(dict(position))
        return position

    alice = client(a, "alice")
    await alice.connect()
    await alice.subscribe(channel, get_state=state)
    await receives(alice, channel, ["since"])
    await alice.unsubscribe(channel)
    async with arrivals(a, channel) as arrive:
        await publish(b, channel, "lost")
        await api(b, "history_remove", {"channel": channel})
        position = (await api(b, "publish", {"channel": channel, "data": "new state"})).json()["result"]
        await publish(b, channel, "new")
        await arrive("lost", "new state", "new")
    await alice.subscribe(channel)
    await receives(alice, channel, ["since", "new"])
    assert len(asked) == 2 and not events_of(alice, "unsubscribed", channel)[1:]


async def test_a_channel_in_cache_mode_gives_its_newest_publication_at_once(shared_pair, client, x):
    a, b = shared_pair
    channel = f"state:{x}"
    await publish(b, channel, {"n": 0}, {"n": 1})
    alice = client(a, "alice")
    await alice.connect()
    await alice.subscribe(channel)
    await receives(alice, channel, [{"n": 1}])
    await alice.unsubscribe(channel)
    async with arrivals(a, channel) as arrive:
        await publish(b, channel, {"n": 2}, {"n": 3})
        await arrive({"n": 2}, {"n": 3})
    await alice.subscribe(channel)
    await receives(alice, channel, [{"n": 1}, {"n": 3}])
    assert events_of(alice, "subscribed", channel)[-1]["recovered"]


# --- deltas and filters ---------------------------------------------------------------------------------------------


def similar(n: int) -> dict[str, object]:
    """One of many publications that differ little: `n` also moves the text that follows it, some of it beyond ASCII."""
    rows = [{"id": i, "text": "\N{GRINNING FACE}\N{SNOWMAN}" * (1 + (n + i) % 3), "at": n * i % 7} for i in range(12)]
    return {"n": n, "digits": "9" * (n % 5), "rows": rows, "last": "\N{LATIN SMALL LETTER E WITH ACUTE}" * (n % 2)}


async def test_publications_as_differences_arrive_as_they_were_published(shared_pair, client, other, x):
    a, b = shared_pair
    channel = f"diff:{x}"
    alice, bob = client(a, "alice"), other(b, "bob")
    await alice.connect()
    await bob.connect()
    await alice.subscribe(channel, delta="fossil")
    await bob.subscribe(channel)
    said: list[object] = [similar(n) for n in range(40)]
    said += [{"small": 1}, "", [], similar(7), similar(7), "x" * 5000, similar(8)]
    for data in said:
        await bob.publish(channel, data)
    for one in (alice, bob):
        await sees(one, "publication", channel, len(said))
        assert data_of(one, channel) == said
    assert await alice.deltas(channel) >= 30 and await bob.deltas(channel) == 0
    before = await alice.deltas(channel)
    await alice.unsubscribe(channel)
    said += [similar(n) for n in range(41, 51)]
    for data in said[-10:]:
        await bob.publish(channel, data)
    await alice.subscribe(channel)
    said.append(similar(99))
    await bob.publish(channel, said[-1])
    await sees(alice, "publication", channel, len(said))
    assert data_of(alice, channel) == said, "also those that were missed"
    assert await alice.deltas(channel) > before


async def test_only_publications_whose_tags_pass_the_filter_come_also_those_that_were_missed(shared_pair, client, x):
    a, b = shared_pair
    channel = f"diff:{x}"
    alice = client(a, "alice")
    english = {"key": "lang", "cmp": "in", "vals": ["en", "uk"]}
    dear = {"key": "price", "cmp": "gte", "val": "10"}
    await alice.connect()
    await alice.subscribe(channel, tags_filter={"op": "and", "nodes": [english, {"op": "not", "nodes": [dear]}]})

    async def offers(first: int) -> None:
        for n, (lang, price) in enumerate((("en", "9.5"), ("de", "9"), ("uk", "1"), ("en", "10"), ("en", "-1"))):
            await publish(b, channel, first + n, tags={"lang": lang, "price": price})

    await offers(0)
    await receives(alice, channel, [0, 2, 4])
    assert events_of(alice, "publication", channel)[0]["tags"] == {"lang": "en", "price": "9.5"}
    await alice.unsubscribe(channel)
    await offers(10)
    await alice.subscribe(channel)
    await offers(20)
    await receives(alice, channel, [0, 2, 4, 10, 12, 14, 20, 22, 24])
    with pytest.raises(CommandFailed):
        await alice.subscribe(f"chat:{x}", tags_filter=english)
    await sees(alice, "unsubscribed", f"chat:{x}")
    assert events_of(alice, "unsubscribed", f"chat:{x}")[0]["code"] == 107


async def test_channels_of_certain_users_let_in_nobody_else(shared_pair, client, x):
    a, _ = shared_pair
    alice = client(a, "alice")
    await alice.connect()
    await alice.subscribe(f"limited:{x}#alice,bob")
    with pytest.raises(CommandFailed):
        await alice.subscribe(f"limited:{x}#bob")
    assert events_of(alice, "unsubscribed", f"limited:{x}#bob")[0]["code"] == 103
