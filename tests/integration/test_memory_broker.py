"""One edge without NATS (`edge.broker = "memory"`), driven by the stock clients and by the server API."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.edges import api, start_edge_in_memory, wire_client
from tests.support.stock_clients import events_of, receives, sees
from tests.support.stock_errors import CommandFailed


@pytest.fixture
async def edge(services):
    return await start_edge_in_memory(services).ready()


async def test_clients_publish_recover_and_see_each_other_until_it_drains(edge, client, other):
    alice, bob = client(edge, "alice"), other(edge, "bob")
    for each in (alice, bob):
        await each.connect()
        await each.subscribe("room:x")
    await bob.publish("room:x", {"n": 1})
    for each in (alice, bob):
        await receives(each, "room:x", [{"n": 1}])
    assert {member["user"] for member in (await alice.presence("room:x")).values()} == {"alice", "bob"}
    await sees(alice, "join", "room:x", 1)

    await alice.disconnect()
    for n in (2, 3):
        assert (await api(edge, "publish", {"channel": "room:x", "data": {"n": n}})).json()["result"]["offset"] == n
    await sees(bob, "leave", "room:x", 1)
    await alice.connect()
    await receives(alice, "room:x", [{"n": 1}, {"n": 2}, {"n": 3}])
    last = (await sees(alice, "subscribed", "room:x", 2))[-1]
    assert last["was_recovering"] and last["recovered"]

    async with wire_client(edge) as carol:
        await carol.connect("carol")
        stopping = asyncio.create_task(edge.stop())
        assert await carol.closed() == (1001, "shutdown")
    assert await stopping == 0
    for each in (alice, bob):
        assert not events_of(each, "disconnected")[1:], "it comes back, as after any loss of a connection"


async def test_an_edge_whose_port_is_taken_names_the_setting_and_is_never_ready(services, edge):
    other = start_edge_in_memory(services, "other", FAIRLEAD_EDGE_PORT=str(edge.port))
    assert await other.wait() == 3
    assert f"cannot listen on 127.0.0.1:{edge.port}: address already in use; find out by whom" in other.log()
    assert "or choose another port (edge.port, FAIRLEAD_EDGE_PORT)" in other.log()
    assert "ready: " not in other.log()


async def test_the_server_api_without_a_configured_key_says_that_none_is_configured(services):
    edge = await start_edge_in_memory(services, FAIRLEAD_HTTP_API_KEY="").ready()
    answer = await api(edge, "info", {})
    assert answer.status_code == 401
    assert "no API key is configured (http_api.key)" in answer.json()["error"]["message"]


async def test_an_edge_without_sessions_says_nothing_of_them_when_it_has_drained(edge):
    async with wire_client(edge) as client:
        await client.connect("carol")
        assert await edge.stop() == 0
    assert "drained in" in edge.log() and "session event" not in edge.log()


async def test_the_server_api_reads_and_commands(edge, stock):
    alice = stock.of("python-json")(edge, "alice")
    await alice.connect()
    await alice.subscribe("room:x")
    for n in range(3):
        await api(edge, "publish", {"channel": "room:x", "data": n})
    history = (await api(edge, "history", {"channel": "room:x", "limit": -1})).json()["result"]
    assert [each["data"] for each in history["publications"]] == [0, 1, 2]
    stats = (await api(edge, "presence_stats", {"channel": "room:x"})).json()["result"]
    assert stats == {"num_clients": 1, "num_users": 1}
    (node,) = (await api(edge, "info", {})).json()["result"]["nodes"]
    assert node["name"] == edge.name
    await api(edge, "unsubscribe", {"user": "alice", "channel": "room:x"})
    await sees(alice, "unsubscribed", "room:x")
    await api(edge, "history_remove", {"channel": "room:x"})
    assert (await api(edge, "history", {"channel": "room:x", "limit": -1})).json()["result"]["publications"] == []


async def test_there_are_no_backends(edge, stock):
    alice = stock.of("python-json")(edge, "alice")
    await alice.connect()
    with pytest.raises(CommandFailed) as refused:
        await alice.rpc("greet", {})
    assert refused.value.code == 108
    assert (await api(edge, "rpc", {"method": "greet"})).json()["error"]["code"] == 108


async def test_a_position_of_an_earlier_process_is_not_taken_for_one_of_this(services, edge):
    async with wire_client(edge) as client:
        await client.connect()
        before = await client.subscribe("chat:x")
    await edge.stop()
    edge.start()
    await edge.ready()
    async with wire_client(edge) as client:
        await client.connect()
        after = await client.subscribe("chat:x", recover=True, epoch=before["epoch"], offset=before["offset"])
    assert after["was_recovering"] and not after.get("recovered")


@pytest.mark.parametrize(
    "switch", ["FAIRLEAD_CLIENT_CONNECT_HOOK", "FAIRLEAD_CLIENT_REFRESH_HOOK", "FAIRLEAD_CLIENT_ALLOW_SEND"]
)
async def test_it_does_not_start_with_what_only_a_backend_could_answer(services, switch):
    edge = start_edge_in_memory(services, **{switch: "true"})
    assert await edge.wait() != 0
    assert 'expected false with edge.broker = "memory"' in edge.log()


async def test_two_of_them_know_nothing_of_each_other(services, edge):
    other = await start_edge_in_memory(services, "other").ready()
    async with wire_client(edge) as here, wire_client(other) as there:
        for client in (here, there):
            await client.connect()
            await client.subscribe("chat:x")
        await asyncio.gather(
            api(edge, "publish", {"channel": "chat:x", "data": 1}),
            api(other, "publish", {"channel": "chat:x", "data": 2}),
        )
        assert await here.publications("chat:x", 1) == [1]
        assert await there.publications("chat:x", 1) == [2]
