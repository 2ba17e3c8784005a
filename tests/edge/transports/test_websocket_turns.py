"""One client sends as much as it can: it gets its turns, others come in between, and each turn has a bound.

Nothing here is timed: the edge's clock stands still, and what is counted is work in a turn of the event loop.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from itertools import pairwise
from typing import Any, cast

import pytest

from proto.codec_protobuf import PROTOBUF, encode_command
from proto.commands import Command, ConnectRequest, SubscribeRequest
from services.edge.backend.backend import Caller
from services.edge.connection.connection import Connection
from services.edge.framing.deflate import deflate
from services.edge.framing.wire import BINARY, CLOSE, COMPRESSED, PING, PONG, TEXT, close_frame
from services.edge.session.command_order import COMMANDS_PER_TURN
from services.edge.transports.websocket import (
    AT_ONCE_BYTES,
    BYTES_PER_TURN,
    FRAMES_BEFORE_CONNECT,
    FRAMES_PER_TURN,
    OPENINGS_PER_TURN,
    PONGS_PER_TURN,
)
from services.edge.turn_queue import TurnQueue
from tests.edge.transports.upgraded import HELLO, Socket, masked
from tests.support.cluster import EdgeCluster, TestEdge, settled
from tests.support.eventually import eventually
from tests.support.function_backend import FunctionBackend
from tests.support.transport import frames_in

READ = 256_000
"""Bytes that uvloop reads at once."""
CONTINUATION = 0


def fragment(opcode: int, payload: bytes = b"") -> bytes:
    """A frame of a client that is not the last one of its message."""
    whole = bytearray(masked(opcode, payload))
    whole[0] &= 0x7F
    return bytes(whole)


def unsubscribe(number: int) -> bytes:
    """A command that is answered at once."""
    return b'{"id":%d,"unsubscribe":{"channel":"chat:x"}}' % number


@pytest.fixture
async def edge() -> TestEdge:
    return await TestEdge(EdgeCluster(), transports=["websocket"], compression=True, insecure=True).start()


async def asking_edge(decided: asyncio.Event) -> TestEdge:
    """An edge whose hook admits every client, once it has decided."""

    async def admit(data: bytes, caller: Caller | None) -> bytes:
        await decided.wait()
        return b'{"result":{"user":"42"}}'

    backend = FunctionBackend(hooks={"connect": admit})
    return await TestEdge(EdgeCluster(), transports=["websocket"], backend=backend, connect_hook=True).start()


class Turn:
    """What happened since the last turn of the event loop."""

    def __init__(self, socket: Socket) -> None:
        self._socket = socket
        self._frames = len(socket.transport.frames)

    def frames(self) -> list[bytes]:
        seen, self._frames = self._frames, len(self._socket.transport.frames)
        return self._socket.transport.frames[seen:]


async def turns_until_read(socket: Socket, most: int = 10_000) -> int:
    """The turns of the event loop until the socket is read again."""
    for turn in range(most):
        if socket.transport.reading:
            return turn
        await asyncio.sleep(0)
    raise AssertionError("it is never read again")


class TestPings:
    async def test_a_flood_of_them_is_answered_once_a_turn_and_the_newest_at_last(self, edge):
        socket = await Socket(edge).connected()
        turn = Turn(socket)
        pings = [masked(PING, b"%d" % number) for number in range(FRAMES_PER_TURN * 10)]
        socket.protocol.data_received(b"".join(pings))
        for nth in range(1, 11):
            assert turn.frames() == [
                b"\x8a\x02%d" % (64 * nth - 1) if 64 * nth <= 100 else b"\x8a\x03%d" % (64 * nth - 1)
            ]
            await asyncio.sleep(0)
        await turns_until_read(socket)
        assert turn.frames() == []

    async def test_a_few_that_come_together_are_all_answered_in_one_write(self, edge):
        """The Autobahn suite looks for that, though no RFC asks for it (2.10)."""
        socket = await Socket(edge).connected()
        turn = Turn(socket)
        socket.protocol.data_received(b"".join(masked(PING, b"%d" % number) for number in range(PONGS_PER_TURN)))
        [written] = turn.frames()
        assert frames_in(written) == [(PONG, b"%d" % number) for number in range(PONGS_PER_TURN)]

    async def test_their_sender_is_not_read_from_meanwhile(self, edge):
        socket = await Socket(edge).connected()
        socket.protocol.data_received(masked(PING, b"") * (READ // 6))
        assert not socket.transport.reading
        assert await turns_until_read(socket) >= READ // 6 // FRAMES_PER_TURN
        assert edge.tally.waits

    async def test_other_clients_are_answered_between_two_turns(self, edge):
        flood, other = await Socket(edge).connected(), await Socket(edge).connected()
        flood.protocol.data_received(masked(PING, b"") * (READ // 6))
        for number in range(2, 12):
            await asyncio.sleep(0)
            other.send(unsubscribe(number))
            assert other.messages[-1]["id"] == number
            late = await Socket(edge).connected()
            assert late.messages[0]["id"] == 1, "and so is a new one"
        assert not flood.transport.reading, "it still has its turns"

    async def test_timers_are_on_time(self, edge):
        """A heartbeat is one: an edge under such a load stays alive for the others."""
        socket = await Socket(edge).connected()
        asyncio.get_running_loop().call_later(0, lambda: beats.append(len(socket.transport.frames)))
        beats: list[int] = []
        socket.protocol.data_received(masked(PING, b"") * (READ // 6))
        before = len(socket.transport.frames)
        for _ in range(3):
            await asyncio.sleep(0)
        assert before <= beats[0] <= before + 2 and not socket.transport.reading

    async def test_one_alone_is_answered_at_once(self, edge):
        socket = await Socket(edge).connected()
        socket.send(b"are you there", PING)
        assert socket.frames[-1] == (PONG, b"are you there") and socket.transport.reading

    async def test_a_close_frame_behind_them_is_found(self, edge):
        socket = await Socket(edge).connected()
        socket.protocol.data_received(masked(PING, b"") * 1000 + masked(CLOSE, close_frame(1000, "bye")[2:]))
        await eventually(lambda: socket.transport.closing)
        assert edge.tally.closes == {1000: 1}

    async def test_what_waits_is_dropped_with_the_socket(self, edge):
        socket = await Socket(edge).connected()
        socket.protocol.data_received(masked(PING, b"") * 1000)
        socket.protocol.connection_lost(None)
        turn = Turn(socket)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert turn.frames() == [] and not edge.context.turns

    async def test_bytes_that_come_although_it_is_not_read_follow_behind(self, edge):
        socket = await Socket(edge).connected()
        socket.protocol.data_received(b"".join(masked(PING, b"%d" % number) for number in range(200)))
        socket.send(b"the last", PING)
        await turns_until_read(socket)
        assert socket.frames[-1] == (PONG, b"the last")


class TestMessages:
    async def test_many_small_ones_come_to_their_end_over_several_turns_in_order(self, edge):
        socket = await Socket(edge).connected()
        turn = Turn(socket)
        socket.protocol.data_received(b"".join(masked(TEXT, unsubscribe(number)) for number in range(2, 502)))
        assert len(turn.frames()) <= FRAMES_PER_TURN
        while not socket.transport.reading:
            await asyncio.sleep(0)
            assert len(turn.frames()) <= FRAMES_PER_TURN
        assert [message["id"] for message in socket.messages] == list(range(1, 502))

    async def test_the_commands_of_one_too(self, edge):
        socket = await Socket(edge).connected()
        heard = len(socket.messages)
        socket.send(b"\n".join(map(unsubscribe, range(2, 258))))
        while len(socket.messages) < 257:
            assert 0 < len(socket.messages) - heard <= COMMANDS_PER_TURN
            heard = len(socket.messages)
            await asyncio.sleep(0)
        assert [message["id"] for message in socket.messages] == list(range(1, 258))
        await turns_until_read(socket)

    async def test_subscribes_that_are_answered_at_once_too(self, edge):
        """Each has an outcome in the same step, which then brings the next command."""
        first = await Socket(edge).connected()
        for number in range(2, 102):
            first.send(b'{"id":%d,"subscribe":{"channel":"live:%d"}}' % (number, number))
            await eventually(lambda: len(first.messages) == number)  # noqa: B023 - called at once
        socket = await Socket(edge).connected()
        heard = len(socket.messages)
        socket.send(b"\n".join(b'{"id":%d,"subscribe":{"channel":"live:%d"}}' % (n, n) for n in range(2, 102)))
        while len(socket.messages) < 101:
            assert 0 < len(socket.messages) - heard <= COMMANDS_PER_TURN
            heard = len(socket.messages)
            await asyncio.sleep(0)

    async def test_commands_that_waited_behind_a_slow_one(self, edge):
        """They come all at once, when it has its answer."""
        release = asyncio.Event()

        async def slow(data: bytes, caller: Caller | None) -> bytes:
            await release.wait()
            return b'{"result":{}}'

        edge.backend.hooks["publish"] = slow
        socket = await Socket(edge).connected()
        socket.send(b'{"id":2,"publish":{"channel":"asked:x","data":{}}}')
        for start in range(3, 403, 100):
            socket.send(b"\n".join(map(unsubscribe, range(start, start + 100))))
        release.set()
        heard = 1
        while len(socket.messages) < 402:
            assert len(socket.messages) - heard <= 1 + COMMANDS_PER_TURN, "its answer, and a turn"
            heard = len(socket.messages)
            await asyncio.sleep(0)
        assert [message["id"] for message in socket.messages] == list(range(1, 403))

    async def test_large_ones_of_many_clients_take_turns(self, edge, monkeypatch):
        """One in a turn of the event loop, when each takes the time that there is."""
        monkeypatch.setattr(edge.context.turns, "now", iter(range(10_000)).__next__)
        sockets = [await Socket(edge).connected() for _ in range(5)]
        large = masked(TEXT, unsubscribe(2) + b" " * AT_ONCE_BYTES)
        for socket in sockets:
            for part in (large[:9_000], large[9_000:]):
                socket.protocol.data_received(part)
        for answered in range(6):
            assert sum(len(socket.messages) - 1 for socket in sockets) == answered
            await asyncio.sleep(0)
        for socket in sockets:
            await turns_until_read(socket)

    async def test_highly_compressible_ones_are_inflated_in_bounded_turns(self, edge, monkeypatch):
        inflated: list[int] = []
        take = Connection.message_received

        def noted(connection: Connection, message: bytes) -> None:
            inflated.append(len(message))
            take(connection, message)

        monkeypatch.setattr(Connection, "message_received", noted)
        socket = Socket(edge, sec_websocket_extensions="permessage-deflate")
        socket.send(HELLO)
        await eventually(lambda: len(socket.transport.frames) == 2)
        inflated.clear()
        data = b'{"id":2,"unsubscribe":{"channel":"%s"}}' % (b"x" * 60_000)
        bombs = masked(TEXT | COMPRESSED, deflate(data, 15))
        socket.protocol.data_received(bombs * (254_000 // len(bombs)))
        assert not inflated
        while not socket.transport.reading:
            inflated.clear()
            await asyncio.sleep(0)
            assert 0 < sum(inflated) < BYTES_PER_TURN + len(data)

    async def test_a_client_that_does_not_read_either_is_not_handled_further(self, edge):
        socket = await Socket(edge).connected()
        socket.transport.connection = cast(Any, socket.protocol)
        turn = Turn(socket)
        socket.transport.stall = True
        socket.protocol.data_received(b"".join(masked(TEXT, unsubscribe(number)) for number in range(2, 502)))
        for _ in range(10):
            await asyncio.sleep(0)
        assert len(turn.frames()) <= 1 and not edge.context.turns, "its frames wait for its socket"
        socket.protocol.resume_writing()
        await eventually(lambda: len(socket.messages) == 501)
        await eventually(lambda: socket.transport.reading)


class TestFragments:
    async def test_empty_ones_end_the_turn_and_then_the_connection(self, edge):
        socket = await Socket(edge).connected()
        other = await Socket(edge).connected()
        socket.protocol.data_received(fragment(TEXT) + fragment(CONTINUATION) * (READ // 6))
        assert not socket.transport.reading
        await asyncio.sleep(0)
        other.send(unsubscribe(2))
        assert other.messages[-1]["id"] == 2 and not socket.transport.ended
        await eventually(lambda: socket.transport.ended)
        assert socket.close_frame[0] == 1009


class TestBeforeConnect:
    async def test_pings_are_few(self, edge):
        socket = Socket(edge)
        socket.protocol.data_received(masked(PING, b"") * FRAMES_BEFORE_CONNECT)
        assert socket.frames and socket.still_open and not socket.transport.closing
        await turns_until_read(socket)
        socket.protocol.data_received(masked(PING, b"") * 1000)
        assert socket.close_frame[0] == 3013
        socket.edge.clock.time += 3
        edge.context.timing_wheel.turn(edge.clock.time)
        assert socket.transport.aborted

    async def test_afterwards_they_are_not_counted(self, edge):
        socket = await Socket(edge).connected()
        socket.protocol.data_received(masked(PING, b"") * 1000)
        await turns_until_read(socket)
        assert socket.still_open

    async def test_of_the_first_message_only_the_connect_is_decoded(self, edge):
        socket = Socket(edge)
        edge = await TestEdge(EdgeCluster(), transports=["websocket"], insecure=False).start()
        socket = Socket(edge)
        socket.send(b'{"id":1,"connect":{"token":"forged"}}\n' + b"{no JSON\n" * 100)
        assert socket.close_frame[0] == 3500, "and not 3501"

    async def test_what_comes_behind_it_is_handled_in_order(self, edge):
        socket = Socket(edge)
        socket.send(HELLO + b"\n" + unsubscribe(2) + b"\n" + unsubscribe(3))
        socket.send(unsubscribe(4))
        assert [message["id"] for message in socket.messages] == [1, 2, 3, 4]

    async def test_in_protobuf_too(self, edge):
        socket = Socket(edge, "/connection/websocket?cf_protocol=protobuf")
        subscribe = Command(id=2, subscribe=SubscribeRequest(channel="chat:x"))
        hello = Command(id=1, connect=ConnectRequest())
        socket.send(PROTOBUF.join(map(encode_command, (hello, subscribe))), BINARY)
        await eventually(lambda: len(socket.frames) == 2)
        socket = Socket(edge, "/connection/websocket?cf_protocol=protobuf")
        socket.send(b"\x05\x00", BINARY)
        assert socket.close_frame[0] == 3501

    @pytest.mark.parametrize("messages", [[b'{"id":2}' * 7000] * 2, [b"x"] * 66])
    async def test_while_a_hook_decides_little_waits(self, messages):
        socket = Socket(await asking_edge(asyncio.Event()))
        socket.send(HELLO)
        for message in messages:
            socket.send(message)
        await eventually(lambda: socket.close_frame[0] == 3013)

    async def test_when_the_hook_has_decided_it_goes_on(self):
        decided = asyncio.Event()
        socket = Socket(await asking_edge(decided))
        socket.send(HELLO + b"\n" + unsubscribe(2))
        socket.send(unsubscribe(3))
        await settled()
        assert socket.messages == []
        decided.set()
        await eventually(lambda: len(socket.messages) == 3)
        assert [message["id"] for message in socket.messages] == [1, 2, 3]


class TestNewClients:
    async def test_many_that_come_at_once_come_in_in_order_and_few_in_each_turn(self, edge):
        edge.context = replace(edge.context, openings=TurnQueue(OPENINGS_PER_TURN, edge.clock.now))
        sockets = [Socket(edge) for _ in range(5 * OPENINGS_PER_TURN)]
        counts = [0]
        while counts[-1] < len(sockets):
            answered = [bool(socket.transport.frames) for socket in sockets]
            assert answered == sorted(answered, reverse=True), "who came first is answered first"
            assert all(socket.transport.reading is done for socket, done in zip(sockets, answered, strict=True))
            counts.append(sum(answered))
            await asyncio.sleep(0)
        assert max(after - before for before, after in pairwise(counts)) <= OPENINGS_PER_TURN
        assert {socket.status for socket in sockets} == {101}
        sockets[-1].protocol.data_received(masked(TEXT, HELLO))
        assert "connect" in sockets[-1].messages[0]

    async def test_one_that_has_gone_meanwhile_is_not_let_in(self, edge):
        edge.context = replace(edge.context, openings=TurnQueue(1))
        first, gone, last = Socket(edge), Socket(edge), Socket(edge)
        gone.transport.close()
        gone.protocol.connection_lost(None)
        await eventually(lambda: last.transport.frames)
        assert first.status == last.status == 101 and gone.transport.frames == [] and len(edge.context.registry) == 2
