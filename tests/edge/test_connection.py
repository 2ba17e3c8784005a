"""What a connection does with a socket that stalls, without one: a transport that says what was asked of it."""

from __future__ import annotations

import asyncio
import json
from typing import Any, cast

import pytest

from proto.messages import StreamPosition
from services.edge.broker_memory import MemoryCluster
from services.edge.client import Policy
from services.edge.connection import QUEUED_BYTES_LIMIT, Connection
from services.edge.hub import Clock, Hub, Origins
from services.edge.session_log import NoSessionLog
from services.edge.settings import ClientSection
from services.edge.tokens import TokenVerifier
from services.edge.wheel import Wheel
from services.edge.wire import TEXT, frame
from tests.support.cluster import NAMESPACES, TestEdge, classes
from tests.support.eventually import eventually

HEAD = (
    b"GET /connection/websocket HTTP/1.1\r\nhost: x\r\nupgrade: websocket\r\nconnection: Upgrade\r\n"
    b"sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-version: 13\r\n\r\n"
)


class FakeTransport:
    """Takes writes; `stall` makes it tell the connection to pause at the next one, as a full socket does."""

    def __init__(self) -> None:
        self.connection: Connection | None = None
        self.frames: list[bytes] = []
        self.reading = True
        self.stall = False
        self.closing = False

    def write(self, data: bytes) -> None:
        self.frames.append(data)
        if self.stall and self.connection is not None:
            self.stall = False
            self.connection.pause_writing()

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def get_write_buffer_size(self) -> int:
        return 0

    def is_closing(self) -> bool:
        return self.closing

    def close(self) -> None:
        self.closing = True

    abort = close

    @property
    def messages(self) -> list[dict[str, Any]]:
        texts = [data for data in self.frames if data[:1] == bytes((0x80 | TEXT,))]
        return [json.loads(line) for text in texts for line in text[text.index(b"{") :].split(b"\n")]

    def values(self, channel: str) -> list[Any]:
        """The first item of each publication that was pushed, or recovered, on `channel`."""
        seen: list[Any] = []
        for message in self.messages:
            push, reply = message.get("push", {}), message.get("subscribe", {})
            seen += [pub["data"][0] for pub in reply.get("publications", [])]
            if push.get("channel") == channel and "pub" in push:
                seen.append(push["pub"]["data"][0])
        return seen


def masked(text: str) -> bytes:
    """A client's frame; a mask of zeros leaves the payload as it is."""
    whole = bytearray(frame(TEXT, text.encode()))
    head = len(whole) - len(text.encode())
    whole[1] |= 0x80
    return bytes(whole[:head]) + bytes(4) + bytes(whole[head:])


class Talk:
    """One client's connection on an edge."""

    def __init__(self, edge: TestEdge) -> None:
        clock = Clock()
        policy = Policy(ClientSection(insecure=True), NAMESPACES, TokenVerifier("", insecure=True), "test")
        self.hub = Hub(
            policy, edge.node, edge.tally, Wheel(clock.now()), clock, NoSessionLog(), Origins([]), started=True
        )
        self.transport = FakeTransport()
        self.connection = Connection(None, None, {"hub": self.hub})
        self.transport.connection = self.connection
        self.connection.connection_made(cast("asyncio.Transport", self.transport))
        self.connection.data_received(HEAD)
        self.say({"id": 1, "connect": {}})

    def say(self, *commands: dict[str, Any]) -> None:
        self.connection.data_received(masked("\n".join(json.dumps(command) for command in commands)))

    async def subscribe(self, channel: str, **more: Any) -> None:
        self.say({"id": 2, "subscribe": {"channel": channel, **more}})
        await eventually(lambda: channel in self.connection.client.channels)


@pytest.fixture
async def edge() -> TestEdge:
    return await TestEdge(MemoryCluster(classes())).start()


async def test_pushes_wait_in_the_log_while_the_socket_is_full_and_come_in_order(edge):
    talk = Talk(edge)
    await talk.subscribe("chat:x")
    talk.transport.stall = True
    for i in range(4):
        await edge.publish("chat:x", [i])
    await eventually(lambda: edge.node.position("chat:x") == StreamPosition(4, "epoch1"))
    assert talk.transport.values("chat:x") == [0], "the one that filled the socket"
    assert not talk.transport.reading, "whoever does not read is not read from"
    talk.connection.resume_writing()
    await eventually(lambda: talk.transport.values("chat:x") == [0, 1, 2, 3])
    await edge.publish("chat:x", ["live"])
    await eventually(lambda: talk.transport.values("chat:x") == [0, 1, 2, 3, "live"])
    await eventually(lambda: talk.transport.reading)
    assert edge.tally.lagged == edge.tally.caught_up == 1


async def test_commands_wait_while_the_socket_is_full(edge):
    talk = Talk(edge)
    await talk.subscribe("chat:x")
    talk.transport.stall = True
    await edge.publish("chat:x", [0])
    await eventually(lambda: not talk.transport.reading)
    talk.say(*({"id": i, "unsubscribe": {"channel": f"chat:{i}"}} for i in range(10, 20)))
    assert not any("unsubscribe" in message for message in talk.transport.messages)
    talk.connection.resume_writing()
    await eventually(lambda: [m["id"] for m in talk.transport.messages if "unsubscribe" in m] == list(range(10, 20)))


async def test_reading_stops_while_many_bytes_of_commands_wait(edge, monkeypatch):
    talk = Talk(edge)
    acknowledged = asyncio.Event()
    publish = edge.node.publish

    async def waits(*args):
        await acknowledged.wait()
        return await publish(*args)

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
    talk = Talk(edge)
    await talk.subscribe("chat:x", recover=True, epoch="epoch1", offset=0)
    await eventually(lambda: talk.transport.values("chat:x") == list(range(9)))
    assert max(map(len, talk.transport.frames)) < 1024 * 1024
    (reply,) = [m["subscribe"] for m in talk.transport.messages if "subscribe" in m]
    assert reply["recovered"] and 1 <= len(reply["publications"]) < 9
    await edge.publish("chat:x", ["live"])
    await eventually(lambda: talk.transport.values("chat:x")[-1] == "live")


async def test_who_takes_nothing_is_let_go_and_who_takes_something_is_not(edge, monkeypatch):
    talk = Talk(edge)
    await talk.subscribe("chat:x")
    talk.transport.stall = True
    monkeypatch.setattr(talk.transport, "get_write_buffer_size", lambda: 1000)
    await edge.publish("chat:x", [0])
    await eventually(lambda: not talk.transport.reading)
    later = talk.hub.clock.now() + 31
    monkeypatch.setattr(talk.transport, "get_write_buffer_size", lambda: 900)
    talk.connection.on_time(later)
    assert edge.tally.closes[3008] == 0
    talk.connection.on_time(later + 31)
    assert edge.tally.closes[3008] == 1


async def test_a_socket_that_fills_up_again_and_again_gets_everything_once(edge):
    talk = Talk(edge)
    await talk.subscribe("chat:x")
    talk.transport.stall = True
    for i in range(6):
        await edge.publish("chat:x", [i])
    await eventually(lambda: edge.node.position("chat:x") == StreamPosition(6, "epoch1"))
    for count in range(2, 7):
        talk.transport.stall = True
        talk.connection.resume_writing()
        await eventually(lambda: not talk.transport.stall)
        assert talk.transport.values("chat:x") == list(range(count))
    talk.connection.resume_writing()
    await eventually(lambda: talk.transport.reading)
    assert talk.transport.values("chat:x") == list(range(6))
