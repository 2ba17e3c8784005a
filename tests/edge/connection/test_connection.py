"""A connection on a socket that stalls, played by a transport that keeps the calls it gets."""

from __future__ import annotations

import asyncio
import gc
import json
from functools import partial
from random import Random

import pytest

from proto.messages import StreamPosition
from services.edge.channels.log_parts import PART_BYTES
from services.edge.connection.connection import Connection
from services.edge.session.command_queue import QUEUED_BYTES_LIMIT
from tests.edge.talks import Talk, connected
from tests.support.cluster import EdgeCluster, TestEdge
from tests.support.eventually import eventually


@pytest.fixture
async def edge() -> TestEdge:
    return await TestEdge(EdgeCluster()).start()


def values(talk: Talk, channel: str) -> list[object]:
    """The first item of each publication."""
    return [value[0] for value in talk.values(channel)]


async def stalled_by(edge, talk, channel, value):
    """The publication that fills the socket has been written, and nothing after it."""
    talk.transport.stall = True
    await edge.publish(channel, value)
    await eventually(lambda: talk.slow)


async def test_pushes_wait_in_the_log_while_the_socket_is_full_and_come_in_order(edge):
    talk = await connected(edge)
    await talk.subscribe("chat:x")
    await stalled_by(edge, talk, "chat:x", [0])
    for i in range(1, 4):
        await edge.publish("chat:x", [i])
    await eventually(lambda: edge.node.position("chat:x") == StreamPosition(4, "epoch1"))
    assert values(talk, "chat:x") == [0], "the one that filled the socket"
    assert not talk.transport.reading, "whoever does not read is not read from"
    talk.connection.resume_writing()
    await eventually(lambda: values(talk, "chat:x") == [0, 1, 2, 3])
    await edge.publish("chat:x", ["live"])
    await eventually(lambda: values(talk, "chat:x") == [0, 1, 2, 3, "live"])
    await eventually(lambda: talk.transport.reading)
    assert edge.tally.lagged.total() == edge.tally.caught_up.total() == 1


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
    said = 0
    while talk.transport.reading:
        talk.say(command)
        said += len(json.dumps(command))
    assert said < QUEUED_BYTES_LIMIT + 140_000, "one is in progress, and one was too much"
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


async def test_a_client_that_takes_nothing_is_closed_and_one_that_takes_something_is_not(edge, monkeypatch):
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
    await stalled_by(edge, talk, "chat:x", [0])
    for i in range(1, 6):
        await edge.publish("chat:x", [i, "x" * PART_BYTES])
    await eventually(lambda: edge.node.position("chat:x") == StreamPosition(6, "epoch1"))
    for count in range(2, 7):
        talk.transport.stall = True
        talk.connection.resume_writing()
        await eventually(lambda: not talk.transport.stall)
        assert values(talk, "chat:x") == list(range(count))
    talk.connection.resume_writing()
    await eventually(lambda: talk.transport.reading)
    assert values(talk, "chat:x") == list(range(6))


def _has_heard(talk: Talk, channel: str, count: int) -> bool:
    return len(talk.values(channel)) >= count


async def test_a_client_that_stalls_within_a_turn_misses_and_doubles_nothing_in_any_channel(edge):
    """Publications of one turn are flushed together: one channel may have been written, the next one not."""
    chance = Random(7)
    talks = [await connected(edge) for _ in range(4)]
    channels = [f"chat:{name}" for name in "abc"]
    for talk in talks:
        for channel in channels:
            await talk.subscribe(channel)
    published = dict.fromkeys(channels, 0)
    for _ in range(150):
        for talk in talks:
            if not talk.slow:
                talk.transport.stall_after = chance.choice((0, 1, 2, 3))
            elif chance.random() < 0.5:
                talk.connection.resume_writing()
        for channel in chance.choices(channels, k=chance.randint(1, 6)):
            await edge.publish(channel, published[channel])
            published[channel] += 1
        if chance.random() < 0.5:
            await asyncio.sleep(0)
    for talk in talks:
        talk.transport.stall = False
        talk.transport.stall_after = 0
        talk.connection.resume_writing()
    for talk in talks:
        for channel in channels:
            await eventually(partial(_has_heard, talk, channel, published[channel]))
            assert talk.values(channel) == list(range(published[channel]))
    assert edge.tally.lagged.total() > 20, "some were slow at all"


@pytest.mark.parametrize("stalls", [False, True])
async def test_a_connection_that_is_gone_leaves_nothing_to_the_garbage_collector(edge, stalls):
    """Its memory is free at once, and no collection has to look at everything that the edge has."""

    def connections() -> int:
        return sum(type(one) is Connection for one in gc.get_objects())

    gc.collect()
    before = connections()
    gc.disable()
    try:
        talk = await connected(edge)
        await talk.subscribe("chat:x")
        if stalls:
            await stalled_by(edge, talk, "chat:x", [0])
        assert connections() == before + 1
        talk.connection.lost()
        del talk
        await eventually(lambda: connections() == before)
    finally:
        gc.enable()
