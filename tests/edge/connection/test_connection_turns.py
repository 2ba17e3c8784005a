"""Publications that share a turn of the event loop with something else reach the client as any others."""

from __future__ import annotations

import asyncio

import pytest
from msgspec import Raw

from proto import codes
from proto.messages import Publication
from services.edge.channels.batch import BATCH_BYTES
from services.edge.framing.formats import WEBSOCKET_JSON, WEBSOCKET_PROTOBUF
from services.edge.session import results
from services.edge.session.server_commands import SendToClient
from tests.edge.talks import connected
from tests.support.cluster import EdgeCluster, TestEdge
from tests.support.eventually import eventually
from tests.support.namespaces import rules_of


@pytest.fixture
async def edge() -> TestEdge:
    return await TestEdge(EdgeCluster()).start()


def in_this_turn(edge: TestEdge, channel: str, data: bytes) -> None:
    """A publication of a channel without history, just come in from the broker."""
    edge.node.sync.ephemeral(channel, Publication(Raw(data)))


async def test_a_recovery_that_a_reply_cannot_hold_goes_on(edge):
    first, second = await connected(edge), await connected(edge)
    start = await first.subscribe("news:x", recoverable=True)
    for value in range(100):
        await edge.publish("news:x", value, tags={"t": "x" * 6000})
    await eventually(lambda: len(first.values("news:x")) == 100)
    await second.subscribe("news:x", recoverable=True, recover=True, epoch=start["epoch"], offset=0)
    await eventually(lambda: second.values("news:x") == list(range(100)))
    await edge.publish("news:x", 100)
    await eventually(lambda: second.values("news:x") == list(range(101)) and second.transport.reading)


async def test_so_does_one_that_is_answered_at_once(edge, monkeypatch):
    """The ring holds less than a reply does; it shall go on even if that changes."""
    monkeypatch.setattr(results, "REPLY_BYTES", 500)
    first, second = await connected(edge), await connected(edge)
    start = await first.subscribe("news:x", recoverable=True)
    for value in range(10):
        await edge.publish("news:x", value)
    await eventually(lambda: len(first.values("news:x")) == 10)
    await second.subscribe("news:x", recoverable=True, recover=True, epoch=start["epoch"], offset=0)
    await eventually(lambda: second.values("news:x") == list(range(10)))
    await edge.publish("news:x", 10)
    await eventually(lambda: second.values("news:x") == list(range(11)) and second.transport.reading)


@pytest.mark.parametrize("format", [WEBSOCKET_JSON, WEBSOCKET_PROTOBUF])
async def test_a_closed_client_got_what_was_published_before(edge, format):
    talk = await connected(edge, format)
    await talk.subscribe("live:x")
    in_this_turn(edge, "live:x", b'"you are banned"')
    talk.connection.close(codes.GOING_AWAY)
    assert talk.values("live:x") == ["you are banned"]


async def test_so_did_who_unsubscribes(edge):
    talk = await connected(edge)
    await talk.subscribe("live:x")
    in_this_turn(edge, "live:x", b"1")
    talk.say({"id": 5, "unsubscribe": {"channel": "live:x"}})
    assert talk.values("live:x") == [1] and talk.heard[-1]["id"] == 5


async def test_a_server_command_does_not_overtake_publications(edge):
    talk = await connected(edge)
    await talk.subscribe("live:x")
    in_this_turn(edge, "live:x", b"1")
    talk.connection.server_command(SendToClient(Raw(b'"m"')))
    assert [next(iter(push.keys() - {"channel"})) for push in talk.pushes] == ["pub", "message"]


async def test_a_publication_that_one_client_cannot_take_costs_no_other_one_anything(edge):
    """The JSON client is left out; the other one's socket fills in the same turn."""
    text, binary = await connected(edge), await connected(edge, WEBSOCKET_PROTOBUF)
    for talk in (text, binary):
        for channel in ("chat:a", "chat:b"):
            await talk.subscribe(channel)
    binary.transport.stall = True
    rules = rules_of("chat:a")
    await asyncio.gather(
        edge.node.publish("chat:a", rules, Publication(Raw(b"\xff\x00"))),
        edge.node.publish("chat:b", rules, Publication(Raw(b'"b"'))),
    )
    await eventually(lambda: binary.slow and text.values("chat:b") == ["b"])
    assert text.values("chat:a") == [] and not text.connection.closed
    binary.connection.resume_writing()
    await eventually(lambda: len(binary.publications("chat:a")) == len(binary.publications("chat:b")) == 1)


async def test_a_frame_holds_no_more_than_what_may_wait(edge):
    talk = await connected(edge)
    await talk.subscribe("chat:x")
    before = len(talk.transport.frames)
    sizes = (1_000, 60_000, 200_000, 1_000)
    await asyncio.gather(*(edge.publish("chat:x", n, tags={"t": "x" * size}) for n, size in enumerate(sizes)))
    await eventually(lambda: talk.values("chat:x") == list(range(len(sizes))))
    lengths = [len(frame) for frame in talk.transport.frames[before:]]
    assert all(length < BATCH_BYTES or 200_000 < length < 201_000 for length in lengths)
