"""What a connection does with a socket that stalls, without one: a transport that says what was asked of it."""

from __future__ import annotations

import asyncio

import pytest

from proto.messages import StreamPosition
from services.edge.clients.connection import QUEUED_BYTES_LIMIT
from tests.edge.talks import Talk, connected
from tests.support.cluster import EdgeCluster, TestEdge
from tests.support.eventually import eventually


@pytest.fixture
async def edge() -> TestEdge:
    return await TestEdge(EdgeCluster()).start()


def values(talk: Talk, channel: str) -> list[object]:
    """The first item of each publication."""
    return [value[0] for value in talk.values(channel)]


async def test_pushes_wait_in_the_log_while_the_socket_is_full_and_come_in_order(edge):
    talk = await connected(edge)
    await talk.subscribe("chat:x")
    talk.transport.stall = True
    for i in range(4):
        await edge.publish("chat:x", [i])
    await eventually(lambda: edge.node.position("chat:x") == StreamPosition(4, "epoch1"))
    assert values(talk, "chat:x") == [0], "the one that filled the socket"
    assert not talk.transport.reading, "whoever does not read is not read from"
    talk.connection.resume_writing()
    await eventually(lambda: values(talk, "chat:x") == [0, 1, 2, 3])
    await edge.publish("chat:x", ["live"])
    await eventually(lambda: values(talk, "chat:x") == [0, 1, 2, 3, "live"])
    await eventually(lambda: talk.transport.reading)
    assert edge.tally.lagged == edge.tally.caught_up == 1


async def test_commands_wait_while_the_socket_is_full(edge):
    talk = await connected(edge)
    await talk.subscribe("chat:x")
    talk.transport.stall = True
    await edge.publish("chat:x", [0])
    await eventually(lambda: not talk.transport.reading)
    talk.say(*({"id": i, "unsubscribe": {"channel": f"chat:{i}"}} for i in range(10, 20)))
    assert not any("unsubscribe" in message for message in talk.heard)
    talk.connection.resume_writing()
    await eventually(lambda: [m["id"] for m in talk.heard if "unsubscribe" in m] == list(range(10, 20)))


async def test_reading_stops_while_many_bytes_of_commands_wait(edge, monkeypatch):
    talk = await connected(edge)
    acknowledged = asyncio.Event()
    publish = edge.node.publish

    async def waits(*args, **more):
        await acknowledged.wait()
        return await publish(*args, **more)

    monkeypatch.setattr(edge.node, "publish", waits)
    command = {"id": 5, "publish": {"channel": "chat:x", "data": "x" * 60_000}}
    while talk.transport.reading:
        talk.say(command)
    assert talk.connection._queued_bytes < QUEUED_BYTES_LIMIT + 70_000
    acknowledged.set()
    await eventually(lambda: talk.transport.reading)
    assert edge.tally.publishes >= 3


async def test_a_large_recovery_is_cut_and_its_rest_follows_in_order(edge):
    for i in range(9):
        await edge.publish("chat:x", [i, "x" * 100_000])
    talk = await connected(edge)
    await talk.subscribe("chat:x", recover=True, epoch="epoch1", offset=0)
    await eventually(lambda: values(talk, "chat:x") == list(range(9)))
    assert max(map(len, talk.transport.frames)) < 1024 * 1024
    (reply,) = [m["subscribe"] for m in talk.heard if "subscribe" in m]
    assert reply["recovered"] and 1 <= len(reply["publications"]) < 9
    await edge.publish("chat:x", ["live"])
    await eventually(lambda: values(talk, "chat:x")[-1] == "live")


async def test_who_takes_nothing_is_let_go_and_who_takes_something_is_not(edge, monkeypatch):
    talk = await connected(edge)
    await talk.subscribe("chat:x")
    talk.transport.stall = True
    monkeypatch.setattr(talk.transport, "get_write_buffer_size", lambda: 1000)
    await edge.publish("chat:x", [0])
    await eventually(lambda: not talk.transport.reading)
    later = edge.clock.now() + 31
    monkeypatch.setattr(talk.transport, "get_write_buffer_size", lambda: 900)
    talk.connection.on_time(later)
    assert edge.tally.closes[3008] == 0
    talk.connection.on_time(later + 31)
    assert edge.tally.closes[3008] == 1


async def test_a_socket_that_fills_up_again_and_again_gets_everything_once(edge):
    talk = await connected(edge)
    await talk.subscribe("chat:x")
    talk.transport.stall = True
    for i in range(6):
        await edge.publish("chat:x", [i])
    await eventually(lambda: edge.node.position("chat:x") == StreamPosition(6, "epoch1"))
    for count in range(2, 7):
        talk.transport.stall = True
        talk.connection.resume_writing()
        await eventually(lambda: not talk.transport.stall)
        assert values(talk, "chat:x") == list(range(count))
    talk.connection.resume_writing()
    await eventually(lambda: talk.transport.reading)
    assert values(talk, "chat:x") == list(range(6))
