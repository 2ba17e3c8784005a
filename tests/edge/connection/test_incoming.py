"""The receiving half of a connection, whatever its transport: turns, backlogs, and what waits for the connect."""

from __future__ import annotations

import asyncio

import pytest

from services.edge.backend.backend import Caller
from services.edge.connection.incoming import EARLY_MESSAGES
from services.edge.framing.formats import HTTP_STREAM_JSON
from services.edge.session.command_order import COMMANDS_PER_TURN
from tests.edge.talks import Talk, connected
from tests.support.cluster import EdgeCluster, TestEdge, settled
from tests.support.eventually import eventually
from tests.support.function_backend import FunctionBackend


@pytest.fixture
async def edge() -> TestEdge:
    return await TestEdge(EdgeCluster()).start()


class Parts:
    """A transport's backlog, of which each turn takes one part."""

    def __init__(self, talk: Talk, left: int) -> None:
        self._talk = talk
        self.left = left

    def go_on(self) -> bool:
        self.left -= 1
        self._talk.say({"id": 100 + self.left, "unsubscribe": {"channel": "x"}})
        return self.left > 0


def unsubscribes(count: int) -> list[dict[str, object]]:
    return [{"id": 2 + number, "unsubscribe": {"channel": "x"}} for number in range(count)]


async def test_the_commands_of_a_message_are_handled_in_turns(edge):
    talk = await connected(edge)
    talk.say(*unsubscribes(COMMANDS_PER_TURN * 2))
    assert len(talk.heard) == 1 + COMMANDS_PER_TURN and not talk.transport.reading
    await asyncio.sleep(0)
    assert len(talk.heard) == 1 + COMMANDS_PER_TURN * 2
    await eventually(lambda: talk.transport.reading)
    assert edge.tally.waits == 1


async def test_a_backlog_is_worked_off_a_part_a_turn_and_then_the_client_is_read_again(edge):
    talk = await connected(edge)
    talk.connection.hold(Parts(talk, 3))
    for expected in (2, 3):
        assert not talk.transport.reading
        await asyncio.sleep(0)
        assert len(talk.heard) == expected
    await asyncio.sleep(0)
    assert [message["id"] for message in talk.heard] == [1, 102, 101, 100] and talk.transport.reading


async def test_commands_that_wait_come_before_the_backlog(edge):
    talk = await connected(edge)
    talk.say(*unsubscribes(COMMANDS_PER_TURN + 1))
    talk.connection.hold(Parts(talk, 1))
    await eventually(lambda: talk.transport.reading)
    assert [message["id"] for message in talk.heard] == [*range(1, COMMANDS_PER_TURN + 3), 100]


async def test_a_backlog_waits_while_the_client_does_not_read(edge):
    talk = await connected(edge)
    talk.connection.pause_writing()
    talk.connection.hold(parts := Parts(talk, 2))
    await settled()
    assert parts.left == 2 and not edge.context.turns
    talk.connection.resume_writing()
    await eventually(lambda: talk.transport.reading)
    assert parts.left == 0


async def test_a_backlog_ends_with_its_client(edge):
    talk = await connected(edge)
    talk.connection.hold(parts := Parts(talk, 2))
    talk.connection.lost()
    await settled()
    assert parts.left == 2 and not edge.context.turns


class TestBeforeTheConnectIsDecidedOn:
    """A hook takes its time."""

    @pytest.fixture
    def decided(self) -> asyncio.Event:
        return asyncio.Event()

    @pytest.fixture
    async def talk(self, decided: asyncio.Event) -> Talk:
        async def admit(data: bytes, caller: Caller | None) -> bytes:
            await decided.wait()
            return b'{"result":{"user":"42"}}'

        edge = await TestEdge(
            EdgeCluster(), backend=FunctionBackend(hooks={"connect": admit}), connect_hook=True, insecure=False
        ).start()
        talk = Talk(edge, HTTP_STREAM_JSON)
        talk.say({"id": 1, "connect": {}})
        return talk

    async def test_messages_wait_undecoded_and_are_handled_afterwards(self, talk, decided):
        for command in unsubscribes(3):
            talk.say(command)
        talk.connection.message_received(b"no command")
        assert talk.edge.tally.messages_in == 1 and not talk.connection.closed
        decided.set()
        await eventually(lambda: talk.connection.closed)
        assert talk.edge.tally.messages_in == 4 and talk.edge.tally.closes == {3501: 1}

    @pytest.mark.parametrize(("messages", "size"), [(EARLY_MESSAGES + 1, 1), (2, 40_000)])
    async def test_they_are_few(self, talk, messages, size):
        for number in range(messages):
            assert not talk.connection.closed, number
            talk.connection.message_received(b"x" * size)
        assert talk.edge.tally.closes == {3013: 1} and talk.edge.tally.messages_in == 1
